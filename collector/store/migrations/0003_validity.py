# Periods, starts and ends of users, and what they used in all; a migration is never edited after its release.
from peewee import *


def up(migrator, db):
    migrator.migrate(
        migrator.add_column('user', 'reset', TextField(default='never')),
        migrator.add_column('user', 'reset_anchor', TextField(default='calendar')),
        migrator.add_column('user', 'reset_day', IntegerField(null=True)),
        migrator.add_column('user', 'reset_month', IntegerField(null=True)),
        migrator.add_column('user', 'zone', TextField(default='UTC')),
        migrator.add_column('user', 'duration_s', BigIntegerField(null=True)),
        migrator.add_column('user', 'start_at_ms', BigIntegerField(null=True)),
        migrator.add_column('user', 'due_ms', BigIntegerField(null=True)),
        migrator.add_index('user', ('due_ms',)),
        migrator.add_column('counter', 'life_up_bytes', BigIntegerField(default=0)),
        migrator.add_column('counter', 'life_down_bytes', BigIntegerField(default=0)),
        migrator.add_column('counter', 'period_start_ms', BigIntegerField(default=0)),
    )
    db.execute_sql('UPDATE counter SET life_up_bytes = up_bytes, life_down_bytes = down_bytes')


def down(migrator, db):
    migrator.migrate(
        migrator.drop_column('counter', 'period_start_ms'),
        migrator.drop_column('counter', 'life_down_bytes'),
        migrator.drop_column('counter', 'life_up_bytes'),
        migrator.drop_index('user', 'user_due_ms'),
        migrator.drop_column('user', 'due_ms'),
        migrator.drop_column('user', 'start_at_ms'),
        migrator.drop_column('user', 'duration_s'),
        migrator.drop_column('user', 'zone'),
        migrator.drop_column('user', 'reset_month'),
        migrator.drop_column('user', 'reset_day'),
        migrator.drop_column('user', 'reset_anchor'),
        migrator.drop_column('user', 'reset'),
    )
