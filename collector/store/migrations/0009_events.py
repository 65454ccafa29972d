# Events are found by subject, actor and kind, each in their order; a migration is never edited after its release.
from peewee import *


def up(migrator, db):
    migrator.migrate(
        migrator.drop_index('event', 'event_subject'),
        migrator.add_index('event', ('subject', 'id')),
        migrator.add_index('event', ('actor', 'id')),
        migrator.add_index('event', ('kind', 'id')),
    )
    # Who was there before events said everything: a snapshot of each of them is still to be made.
    db.execute_sql('INSERT INTO fact (name, value)'
                   " SELECT 'untold_user', MAX(id) FROM \"user\" HAVING MAX(id) IS NOT NULL")


def down(migrator, db):
    db.execute_sql("DELETE FROM fact WHERE name = 'untold_user'")
    migrator.migrate(
        migrator.drop_index('event', 'event_kind_id'),
        migrator.drop_index('event', 'event_actor_id'),
        migrator.drop_index('event', 'event_subject_id'),
        migrator.add_index('event', ('subject',)),
    )
