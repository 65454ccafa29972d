# Generated from the tables of this release; a migration is never edited after its release.
from peewee import *

def up(migrator, db):
    class Admin(Model):
        name = TextField(unique=True)
        password_hash = TextField()
        credential = IntegerField(default=1)
        created_ms = BigIntegerField()
        class Meta:
            database = db
            table_name = 'admin'
    db.create_tables([Admin])

    class Assignment(Model):
        user_id = IntegerField()
        endpoint_id = IntegerField(index=True)
        class Meta:
            database = db
            table_name = 'assignment'
            primary_key = CompositeKey('user_id', 'endpoint_id')
            without_rowid = True
    db.create_tables([Assignment])

    class Counter(Model):
        user_id = IntegerField(primary_key=True)
        up_bytes = BigIntegerField(default=0)
        down_bytes = BigIntegerField(default=0)
        first_ms = BigIntegerField(null=True)
        last_ms = BigIntegerField(null=True)
        class Meta:
            database = db
            table_name = 'counter'
    db.create_tables([Counter])

    class Desired(Model):
        node_id = IntegerField()
        key = TextField()
        generation = BigIntegerField()
        user_id = IntegerField(index=True, null=True)
        body = BlobField(null=True)
        class Meta:
            database = db
            table_name = 'desired'
            primary_key = CompositeKey('node_id', 'key')
            indexes = ((('node_id', 'generation'), False),)
    db.create_tables([Desired])

    class Endpoint(Model):
        node_id = IntegerField(index=True)
        name = TextField()
        protocol = TextField()
        listen = TextField()
        port = IntegerField()
        removed_ms = BigIntegerField(null=True)
        class Meta:
            database = db
            table_name = 'endpoint'
    db.create_tables([Endpoint])

    class Enrolment(Model):
        token_hash = BlobField(primary_key=True)
        node_id = IntegerField(index=True)
        expires_ms = BigIntegerField()
        used_ms = BigIntegerField(null=True)
        class Meta:
            database = db
            table_name = 'enrolment'
    db.create_tables([Enrolment])

    class Event(Model):
        at_ms = BigIntegerField()
        actor = TextField()
        kind = TextField()
        subject = TextField(index=True)
        data = BlobField()
        class Meta:
            database = db
            table_name = 'event'
    db.create_tables([Event])

    class Failure(Model):
        node_id = IntegerField()
        key = TextField()
        generation = BigIntegerField()
        error = TextField()
        class Meta:
            database = db
            table_name = 'failure'
            primary_key = CompositeKey('node_id', 'key')
    db.create_tables([Failure])

    class Incident(Model):
        node_id = IntegerField()
        number = BigIntegerField()
        at_ms = BigIntegerField()
        received_ms = BigIntegerField()
        kind = TextField()
        detail = TextField()
        class Meta:
            database = db
            table_name = 'incident'
            indexes = ((('node_id', 'number'), True),)
    db.create_tables([Incident])

    class Ledger(Model):
        name = TextField(unique=True)
        node_id = IntegerField(index=True)
        created_ms = BigIntegerField()
        class Meta:
            database = db
            table_name = 'ledger'
    db.create_tables([Ledger])

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

    class Node(Model):
        name = TextField(unique=True)
        region = TextField()
        link_mbps = IntegerField()
        created_ms = BigIntegerField()
        enrolled_ms = BigIntegerField(null=True)
        last_seen_ms = BigIntegerField(null=True)
        client_id = TextField(unique=True, null=True)
        secret_hash = BlobField(null=True)
        credential = IntegerField(default=0)
        revoked = BooleanField(default=False)
        generation = BigIntegerField(default=0)
        acknowledged = BigIntegerField(default=0)
        horizon = BigIntegerField(default=0)
        heartbeat = BlobField(null=True)
        class Meta:
            database = db
            table_name = 'node'
    db.create_tables([Node])

    class Quarantine(Model):
        node_id = IntegerField()
        ledger = TextField()
        user_id = IntegerField(null=True)
        endpoint_id = IntegerField(null=True)
        up_bytes = TextField(null=True)
        down_bytes = TextField(null=True)
        content = TextField()
        cause = TextField()
        reason = TextField()
        first_ms = BigIntegerField()
        last_ms = BigIntegerField()
        seen_count = IntegerField(default=1)
        decision = TextField(null=True)
        class Meta:
            database = db
            table_name = 'quarantine'
            indexes = ((('ledger', 'user_id', 'endpoint_id'), False),)
    db.create_tables([Quarantine])

    class User(Model):
        uuid = TextField()
        uuid_key = TextField(unique=True, null=True)
        name = TextField()
        name_key = TextField(unique=True, null=True)
        status = TextField()
        reason = TextField(null=True)
        quota_bytes = BigIntegerField(null=True)
        created_ms = BigIntegerField()
        removed_ms = BigIntegerField(null=True)
        class Meta:
            database = db
            table_name = 'user'
    db.create_tables([User])


def down(migrator, db):
    migrator.migrate(migrator.drop_table('user'))
    migrator.migrate(migrator.drop_table('quarantine'))
    migrator.migrate(migrator.drop_table('node'))
    migrator.migrate(migrator.drop_table('meter'))
    migrator.migrate(migrator.drop_table('ledger'))
    migrator.migrate(migrator.drop_table('incident'))
    migrator.migrate(migrator.drop_table('failure'))
    migrator.migrate(migrator.drop_table('event'))
    migrator.migrate(migrator.drop_table('enrolment'))
    migrator.migrate(migrator.drop_table('endpoint'))
    migrator.migrate(migrator.drop_table('desired'))
    migrator.migrate(migrator.drop_table('counter'))
    migrator.migrate(migrator.drop_table('assignment'))
    migrator.migrate(migrator.drop_table('admin'))
