"""The tables of WireGuard endpoints' users, as peewee models (rows R5, R7).

What always holds: an address that somebody has, or had until lately, has one row, and a public key one row an
endpoint, whoever writes beside us.
"""

from typing import Any, ClassVar

import peewee

from collector.store.table import Table


class WireguardPeer(Table):
    """The keys of a user on a WireGuard endpoint; the private one is null where he keeps it himself."""

    user_id = peewee.IntegerField()
    endpoint_id = peewee.IntegerField()
    public_key = peewee.TextField()
    private_key = peewee.TextField(null=True)
    preshared_key = peewee.TextField()

    class Meta:
        """One row a pair; an interface tells its users apart by their public keys."""

        primary_key = peewee.CompositeKey("user_id", "endpoint_id")
        indexes: ClassVar[Any] = ((("endpoint_id", "public_key"), True),)
        without_rowid = True


class WireguardAddress(Table):
    """An address in the tunnel that a user of an endpoint has, or had until `released_ms`.

    `number` is the address as far as the column holds it: addresses are looked for in its order.
    """

    endpoint_id = peewee.IntegerField()
    address = peewee.TextField()
    version = peewee.IntegerField()
    number = peewee.BigIntegerField()
    user_id = peewee.IntegerField(index=True)
    fixed = peewee.BooleanField()
    released_ms = peewee.BigIntegerField(null=True)

    class Meta:
        """One row an address: nobody has one that another has, or had a moment ago."""

        primary_key = peewee.CompositeKey("endpoint_id", "address")
        indexes: ClassVar[Any] = (
            (("endpoint_id", "version", "number"), False),
            (("endpoint_id", "released_ms"), False),
        )
        without_rowid = True


class WireguardCursor(Table):
    """After which number the next address of an endpoint is looked for."""

    endpoint_id = peewee.IntegerField()
    version = peewee.IntegerField()
    number = peewee.BigIntegerField()

    class Meta:
        """One row an endpoint and version."""

        primary_key = peewee.CompositeKey("endpoint_id", "version")
        without_rowid = True


ALL: tuple[type[Table], ...] = (WireguardPeer, WireguardAddress, WireguardCursor)
