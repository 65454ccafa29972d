# Meters in the order of their ledgers, billed totals, history by the hour; a migration is never edited after its release.
from peewee import *

_KEY = 'ledger_id, user_id, endpoint_id'


def up(migrator, db):
    migrator.migrate(migrator.rename_table('meter', 'old_meter'))
    class Meter(Model):
        ledger_id = IntegerField()
        user_id = IntegerField(index=True)
        endpoint_id = IntegerField()
        up_bytes = BigIntegerField()
        down_bytes = BigIntegerField()
        billed_up_bytes = BigIntegerField()
        billed_down_bytes = BigIntegerField()
        last_ms = BigIntegerField()
        class Meta:
            database = db
            table_name = 'meter'
            primary_key = CompositeKey('ledger_id', 'user_id', 'endpoint_id')
            without_rowid = True
    class Opening(Model):
        ledger_id = IntegerField()
        user_id = IntegerField(index=True)
        endpoint_id = IntegerField()
        hour = IntegerField()
        up_bytes = BigIntegerField()
        down_bytes = BigIntegerField()
        billed_up_bytes = BigIntegerField()
        billed_down_bytes = BigIntegerField()
        class Meta:
            database = db
            table_name = 'opening'
            primary_key = CompositeKey('ledger_id', 'user_id', 'endpoint_id')
            without_rowid = True
    class History(Model):
        hour = IntegerField()
        user_id = IntegerField()
        endpoint_id = IntegerField()
        up_bytes = BigIntegerField()
        down_bytes = BigIntegerField()
        billed_up_bytes = BigIntegerField()
        billed_down_bytes = BigIntegerField()
        class Meta:
            database = db
            table_name = 'history'
            primary_key = CompositeKey('hour', 'user_id', 'endpoint_id')
            without_rowid = True
    db.create_tables([Meter, Opening, History])
    # What was billed until now, at today's factors; 1,000 goes in twice so that no product is too large.
    billed = '({0} / 1000) * factor_permille + ({0} % 1000) * factor_permille / 1000'
    up_bytes, down_bytes = billed.format('m.up_bytes'), billed.format('m.down_bytes')
    db.execute_sql(
        'INSERT INTO meter (ledger_id, user_id, endpoint_id, up_bytes, down_bytes, billed_up_bytes,'
        ' billed_down_bytes, last_ms)'
        f' SELECT ledger_id, user_id, endpoint_id, m.up_bytes, m.down_bytes, {up_bytes}, {down_bytes}, m.last_ms'
        ' FROM old_meter AS m JOIN endpoint AS e ON e.id = m.endpoint_id'
    )
    db.execute_sql(
        f'INSERT INTO opening ({_KEY}, hour, up_bytes, down_bytes, billed_up_bytes, billed_down_bytes)'
        f' SELECT {_KEY}, last_ms / 3600000, up_bytes, down_bytes, billed_up_bytes, billed_down_bytes FROM meter'
    )
    migrator.migrate(migrator.drop_table('old_meter'))


def down(migrator, db):
    migrator.migrate(migrator.drop_table('history'), migrator.drop_table('opening'))
    migrator.migrate(migrator.rename_table('meter', 'new_meter'))
    class Meter(Model):
        ledger_id = IntegerField()
        user_id = IntegerField()
        endpoint_id = IntegerField()
        up_bytes = BigIntegerField()
        down_bytes = BigIntegerField()
        last_ms = BigIntegerField()
        class Meta:
            database = db
            table_name = 'meter'
            primary_key = CompositeKey('user_id', 'endpoint_id', 'ledger_id')
            without_rowid = True
    db.create_tables([Meter])
    columns = f'{_KEY}, up_bytes, down_bytes, last_ms'
    db.execute_sql(f'INSERT INTO meter ({columns}) SELECT {columns} FROM new_meter')
    migrator.migrate(migrator.drop_table('new_meter'))
