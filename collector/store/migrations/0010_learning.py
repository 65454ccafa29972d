# Serials of leases, which nodes are asked what they hold, and of whose limits; a migration is never edited after its release.
from peewee import *


def up(migrator, db):
    class Unlearned(Model):
        node_id = IntegerField()
        manager_id = IntegerField(index=True)
        class Meta:
            database = db
            table_name = 'unlearned'
            primary_key = CompositeKey('node_id', 'manager_id')
            without_rowid = True
    db.create_tables([Unlearned])
    migrator.migrate(
        migrator.add_column('ledger', 'serial', BigIntegerField(default=0)),
        migrator.add_column('node', 'learning_ms', BigIntegerField(index=True, null=True)),
        migrator.add_index('lease', ('ledger_id', 'user_id')),
    )


def down(migrator, db):
    migrator.migrate(
        migrator.drop_index('lease', 'lease_ledger_id_user_id'),
        migrator.drop_column('node', 'learning_ms'),
        migrator.drop_column('ledger', 'serial'),
        migrator.drop_table('unlearned'),
    )
