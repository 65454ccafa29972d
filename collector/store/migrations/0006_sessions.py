# Limits of sessions and devices, and when users were connected; a migration is never edited after its release.
from peewee import *


def up(migrator, db):
    migrator.migrate(
        migrator.add_column('user', 'max_concurrent', IntegerField(null=True)),
        migrator.add_column('user', 'allowed_devices', TextField(null=True)),
        migrator.add_column('user', 'first_connected_ms', BigIntegerField(null=True)),
        migrator.add_column('user', 'last_connected_ms', BigIntegerField(null=True)),
    )


def down(migrator, db):
    migrator.migrate(
        migrator.drop_column('user', 'last_connected_ms'),
        migrator.drop_column('user', 'first_connected_ms'),
        migrator.drop_column('user', 'allowed_devices'),
        migrator.drop_column('user', 'max_concurrent'),
    )
