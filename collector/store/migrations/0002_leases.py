# Limits by direction, traffic factors, leases, and numbers that outlive a backup; a migration is never edited after its release.
from peewee import *


def up(migrator, db):
    class Lease(Model):
        user_id = IntegerField()
        ledger_id = IntegerField()
        total_bytes = BigIntegerField(null=True)
        up_bytes = BigIntegerField(null=True)
        down_bytes = BigIntegerField(null=True)
        class Meta:
            database = db
            table_name = 'lease'
            primary_key = CompositeKey('user_id', 'ledger_id')
            without_rowid = True
    class Recall(Model):
        node_id = IntegerField()
        user_id = IntegerField()
        class Meta:
            database = db
            table_name = 'recall'
            primary_key = CompositeKey('node_id', 'user_id')
            without_rowid = True
    class Fact(Model):
        name = TextField(primary_key=True)
        value = BigIntegerField()
        class Meta:
            database = db
            table_name = 'fact'
    db.create_tables([Lease, Recall, Fact])
    migrator.migrate(
        migrator.add_column('endpoint', 'factor_permille', IntegerField(default=1000)),
        migrator.add_column('user', 'up_limit_bytes', BigIntegerField(null=True)),
        migrator.add_column('user', 'down_limit_bytes', BigIntegerField(null=True)),
        migrator.add_column('user', 'terms', IntegerField(default=1)),
        migrator.add_column('ledger', 'epoch', BigIntegerField(default=0)),
        migrator.add_column('ledger', 'sequence', BigIntegerField(default=0)),
    )


def down(migrator, db):
    migrator.migrate(
        migrator.drop_column('ledger', 'sequence'),
        migrator.drop_column('ledger', 'epoch'),
        migrator.drop_column('user', 'terms'),
        migrator.drop_column('user', 'down_limit_bytes'),
        migrator.drop_column('user', 'up_limit_bytes'),
        migrator.drop_column('endpoint', 'factor_permille'),
        migrator.drop_table('fact'),
        migrator.drop_table('recall'),
        migrator.drop_table('lease'),
    )
