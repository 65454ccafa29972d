# Periods of nodes, hours of endpoints, months that lie in files of their own; a migration is never edited after its release.
from peewee import *

_NODE = {
    'reset': TextField(default='never'),
    'reset_day': IntegerField(null=True),
    'reset_month': IntegerField(null=True),
    'zone': TextField(default='UTC'),
    'period_start_ms': BigIntegerField(default=0),
    'due_ms': BigIntegerField(null=True),
}
_BYTES = ('up_bytes', 'down_bytes', 'billed_up_bytes', 'billed_down_bytes')


def up(migrator, db):
    class Volume(Model):
        hour = IntegerField()
        endpoint_id = IntegerField()
        up_bytes = BigIntegerField()
        down_bytes = BigIntegerField()
        billed_up_bytes = BigIntegerField()
        billed_down_bytes = BigIntegerField()
        class Meta:
            database = db
            table_name = 'volume'
            primary_key = CompositeKey('hour', 'endpoint_id')
            without_rowid = True
    class Month(Model):
        month = IntegerField(primary_key=True)
        sequence = BigIntegerField()
        mark = BigIntegerField()
        class Meta:
            database = db
            table_name = 'month'
    db.create_tables([Volume, Month])
    migrator.migrate(*(migrator.add_column('node', name, field) for name, field in _NODE.items()))
    sums = ', '.join(f'SUM({name})' for name in _BYTES)
    db.execute_sql(
        f'INSERT INTO volume (hour, endpoint_id, {", ".join(_BYTES)})'
        f' SELECT hour, endpoint_id, {sums} FROM history GROUP BY hour, endpoint_id'
    )


def down(migrator, db):
    migrator.migrate(
        *(migrator.drop_column('node', name) for name in reversed(_NODE)),
        migrator.drop_table('month'),
        migrator.drop_table('volume'),
    )
