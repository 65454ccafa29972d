# What endpoints are made of, where clients reach them, and how fast users may be; a migration is never edited after its release.
from peewee import *


def up(migrator, db):
    migrator.migrate(
        migrator.add_column('endpoint', 'host', TextField(null=True)),
        migrator.add_column('endpoint', 'settings', TextField(null=True)),
        migrator.add_column('user', 'up_kbps', IntegerField(null=True)),
        migrator.add_column('user', 'down_kbps', IntegerField(null=True)),
    )


def down(migrator, db):
    migrator.migrate(
        migrator.drop_column('user', 'down_kbps'),
        migrator.drop_column('user', 'up_kbps'),
        migrator.drop_column('endpoint', 'settings'),
        migrator.drop_column('endpoint', 'host'),
    )
