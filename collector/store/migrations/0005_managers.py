# Managers with their counters, and the manager of a user; a migration is never edited after its release.
from peewee import *


def up(migrator, db):
    class Manager(Model):
        parent_id = IntegerField(index=True, null=True)
        name = TextField()
        name_key = TextField(unique=True, null=True)
        status = TextField()
        reason = TextField(null=True)
        quota_bytes = BigIntegerField(null=True)
        up_limit_bytes = BigIntegerField(null=True)
        down_limit_bytes = BigIntegerField(null=True)
        max_sessions = IntegerField(null=True)
        max_online = IntegerField(null=True)
        max_active = IntegerField(null=True)
        notice_percent = IntegerField()
        notices = IntegerField()
        penalty_s = IntegerField()
        reset = TextField()
        reset_anchor = TextField()
        reset_day = IntegerField(null=True)
        reset_month = IntegerField(null=True)
        zone = TextField()
        duration_s = BigIntegerField(null=True)
        start_at_ms = BigIntegerField(null=True)
        due_ms = BigIntegerField(index=True, null=True)
        password_hash = TextField(null=True)
        credential = IntegerField(default=0)
        created_ms = BigIntegerField()
        removed_ms = BigIntegerField(null=True)
        class Meta:
            database = db
            table_name = 'manager'
    class ManagerCounter(Model):
        manager_id = IntegerField(primary_key=True)
        up_bytes = BigIntegerField(default=0)
        down_bytes = BigIntegerField(default=0)
        life_up_bytes = BigIntegerField(default=0)
        life_down_bytes = BigIntegerField(default=0)
        period_start_ms = BigIntegerField(default=0)
        first_ms = BigIntegerField(null=True)
        held_total_bytes = BigIntegerField(default=0)
        held_up_bytes = BigIntegerField(default=0)
        held_down_bytes = BigIntegerField(default=0)
        class Meta:
            database = db
            table_name = 'manager_counter'
    db.create_tables([Manager, ManagerCounter])
    migrator.migrate(
        migrator.add_column('user', 'manager_id', IntegerField(null=True)),
        migrator.add_column('user', 'manager_stopped', BooleanField(default=False)),
        migrator.add_index('user', ('manager_id', 'manager_stopped')),
    )


def down(migrator, db):
    migrator.migrate(
        migrator.drop_index('user', 'user_manager_id_manager_stopped'),
        migrator.drop_column('user', 'manager_stopped'),
        migrator.drop_column('user', 'manager_id'),
        migrator.drop_table('manager_counter'),
        migrator.drop_table('manager'),
    )
