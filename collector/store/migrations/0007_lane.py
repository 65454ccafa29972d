# Counters worked out from the meters, hours of ledgers, and who was ever placed; a migration is never edited after its release.
from peewee import *

_OLD = ('life_up_bytes', 'life_down_bytes', 'up_bytes', 'down_bytes')
_NEW = ('carried_up_bytes', 'carried_down_bytes', 'base_up_bytes', 'base_down_bytes')


def up(migrator, db):
    class Placing(Model):
        user_id = IntegerField()
        endpoint_id = IntegerField()
        class Meta:
            database = db
            table_name = 'placing'
            primary_key = CompositeKey('user_id', 'endpoint_id')
            without_rowid = True
    db.create_tables([Placing])
    migrator.migrate(
        migrator.add_column('ledger', 'hour', IntegerField(default=0)),
        *(migrator.add_column('counter', name, BigIntegerField(default=0)) for name in _NEW),
    )
    db.execute_sql('INSERT INTO "placing" SELECT user_id, endpoint_id FROM assignment'
                   ' UNION SELECT user_id, endpoint_id FROM meter')
    db.execute_sql('UPDATE ledger SET hour = COALESCE('
                   '(SELECT MAX(o.hour) FROM opening AS o WHERE o.ledger_id = ledger.id), 0)')
    # A user's bytes in all are those of his meters and what was carried over from before them.
    for way in ('up', 'down'):
        billed = f'COALESCE((SELECT SUM(m.billed_{way}_bytes) FROM meter AS m WHERE m.user_id = counter.user_id), 0)'
        db.execute_sql(f'UPDATE counter SET base_{way}_bytes = life_{way}_bytes - {way}_bytes,'
                       f' carried_{way}_bytes = life_{way}_bytes - {billed}')
    migrator.migrate(*(migrator.drop_column('counter', name) for name in _OLD))


def down(migrator, db):
    migrator.migrate(*(migrator.add_column('counter', name, BigIntegerField(default=0)) for name in _OLD))
    for way in ('up', 'down'):
        billed = f'COALESCE((SELECT SUM(m.billed_{way}_bytes) FROM meter AS m WHERE m.user_id = counter.user_id), 0)'
        db.execute_sql(f'UPDATE counter SET life_{way}_bytes = carried_{way}_bytes + {billed}')
        db.execute_sql(f'UPDATE counter SET {way}_bytes = life_{way}_bytes - base_{way}_bytes')
    migrator.migrate(
        *(migrator.drop_column('counter', name) for name in _NEW),
        migrator.drop_column('ledger', 'hour'),
        migrator.drop_table('placing'),
    )
