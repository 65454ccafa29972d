# Users of WireGuard endpoints, their addresses and which is given next; a migration is never edited after its release.
from peewee import *


def up(migrator, db):
    class WireguardPeer(Model):
        user_id = IntegerField()
        endpoint_id = IntegerField()
        public_key = TextField()
        private_key = TextField(null=True)
        preshared_key = TextField()
        class Meta:
            database = db
            table_name = 'wireguard_peer'
            primary_key = CompositeKey('user_id', 'endpoint_id')
            indexes = ((('endpoint_id', 'public_key'), True),)
            legacy_table_names = False
            without_rowid = True
    class WireguardAddress(Model):
        endpoint_id = IntegerField()
        address = TextField()
        version = IntegerField()
        number = BigIntegerField()
        user_id = IntegerField(index=True)
        fixed = BooleanField()
        released_ms = BigIntegerField(null=True)
        class Meta:
            database = db
            table_name = 'wireguard_address'
            primary_key = CompositeKey('endpoint_id', 'address')
            indexes = (
                (('endpoint_id', 'version', 'number'), False),
                (('endpoint_id', 'released_ms'), False),
            )
            legacy_table_names = False
            without_rowid = True
    class WireguardCursor(Model):
        endpoint_id = IntegerField()
        version = IntegerField()
        number = BigIntegerField()
        class Meta:
            database = db
            table_name = 'wireguard_cursor'
            primary_key = CompositeKey('endpoint_id', 'version')
            legacy_table_names = False
            without_rowid = True
    db.create_tables([WireguardPeer, WireguardAddress, WireguardCursor])


def down(migrator, db):
    migrator.migrate(
        migrator.drop_table('wireguard_cursor'),
        migrator.drop_table('wireguard_address'),
        migrator.drop_table('wireguard_peer'),
    )
