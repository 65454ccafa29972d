# What each lease holds of the managers above its user, and who has such a manager; a migration is never edited after its release.
from peewee import *

_HELD = ('held_total_bytes', 'held_up_bytes', 'held_down_bytes')


def up(migrator, db):
    if isinstance(db, SqliteDatabase):
        # In words of its own: peewee would make the table anew, and with a row id.
        for name in _HELD:
            db.execute_sql(f'ALTER TABLE lease ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0')
    else:
        migrator.migrate(*(migrator.add_column('lease', name, BigIntegerField(default=0)) for name in _HELD))
    migrator.migrate(migrator.add_column('user', 'pooled', BooleanField(default=False)))


def down(migrator, db):
    migrator.migrate(migrator.drop_column('user', 'pooled'))
    for name in _HELD:
        db.execute_sql(f'ALTER TABLE lease DROP COLUMN {name}')
