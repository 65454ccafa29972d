"""The tables, as peewee models (rows R4, H1, H9).

What always holds: everything that one report changes lives in one file, so that one commit is atomic even
when the power fails. Counters and meters are narrow tables of their own: their cost is the pages they dirty.
The migrations build the same schema; a test compares the two.
"""

from typing import Any, ClassVar

import peewee

from collector.store import table, wireguard_tables

Table = table.Table


class Admin(Table):
    """Somebody who may administer. Tokens carry the credential number under which they were given out."""

    name = peewee.TextField(unique=True)
    password_hash = peewee.TextField()
    credential = peewee.IntegerField(default=1)
    created_ms = peewee.BigIntegerField()


class Node(Table):
    """A node, its credential and the generations of its desired state.

    `horizon` is the newest generation whose tombstones are gone: older agents need the full state.
    `learning_ms` is when it was asked what it holds, and null once that is known; `due_ms` is when the
    present period ends.
    """

    name = peewee.TextField(unique=True)
    region = peewee.TextField()
    link_mbps = peewee.IntegerField()
    created_ms = peewee.BigIntegerField()
    enrolled_ms = peewee.BigIntegerField(null=True)
    last_seen_ms = peewee.BigIntegerField(null=True)
    client_id = peewee.TextField(null=True, unique=True)
    secret_hash = peewee.BlobField(null=True)
    credential = peewee.IntegerField(default=0)
    revoked = peewee.BooleanField(default=False)
    generation = peewee.BigIntegerField(default=0)
    acknowledged = peewee.BigIntegerField(default=0)
    horizon = peewee.BigIntegerField(default=0)
    heartbeat = peewee.BlobField(null=True)
    learning_ms = peewee.BigIntegerField(null=True, index=True)
    reset = peewee.TextField(default="never")
    reset_day = peewee.IntegerField(null=True)
    reset_month = peewee.IntegerField(null=True)
    zone = peewee.TextField(default="UTC")
    period_start_ms = peewee.BigIntegerField(default=0)
    due_ms = peewee.BigIntegerField(null=True)


class Enrolment(Table):
    """A one-time token, kept as its hash only."""

    token_hash = peewee.BlobField(primary_key=True)
    node_id = peewee.IntegerField(index=True)
    expires_ms = peewee.BigIntegerField()
    used_ms = peewee.BigIntegerField(null=True)


class Endpoint(Table):
    """A way into a node. Removed ones stay, so that late reports still know them.

    `settings` are its transport, security, options and raw JSON, as JSON with the keys that nodes need; null
    where all of them are the usual ones.
    """

    node_id = peewee.IntegerField(index=True)
    name = peewee.TextField()
    protocol = peewee.TextField()
    listen = peewee.TextField()
    port = peewee.IntegerField()
    factor_permille = peewee.IntegerField(default=1000)
    host = peewee.TextField(null=True)
    settings = peewee.TextField(null=True)
    removed_ms = peewee.BigIntegerField(null=True)


class User(Table):
    """A user without his counters. Removed ones stay, so that late reports are still billed.

    `uuid_key` is the UUID as VLESS compares it; both it and the name are free again after a removal. `due_ms`
    is when time next changes something, so that nobody else is looked at. `allowed_devices` is a JSON list.
    """

    uuid = peewee.TextField()
    uuid_key = peewee.TextField(null=True, unique=True)
    name = peewee.TextField()
    name_key = peewee.TextField(null=True, unique=True)
    status = peewee.TextField()
    reason = peewee.TextField(null=True)
    quota_bytes = peewee.BigIntegerField(null=True)
    up_limit_bytes = peewee.BigIntegerField(null=True)
    down_limit_bytes = peewee.BigIntegerField(null=True)
    terms = peewee.IntegerField(default=1)
    reset = peewee.TextField(default="never")
    reset_anchor = peewee.TextField(default="calendar")
    reset_day = peewee.IntegerField(null=True)
    reset_month = peewee.IntegerField(null=True)
    zone = peewee.TextField(default="UTC")
    duration_s = peewee.BigIntegerField(null=True)
    start_at_ms = peewee.BigIntegerField(null=True)
    due_ms = peewee.BigIntegerField(null=True, index=True)
    pooled = peewee.BooleanField(default=False)
    max_concurrent = peewee.IntegerField(null=True)
    allowed_devices = peewee.TextField(null=True)
    up_kbps = peewee.IntegerField(null=True)
    down_kbps = peewee.IntegerField(null=True)
    first_connected_ms = peewee.BigIntegerField(null=True)
    last_connected_ms = peewee.BigIntegerField(null=True)
    created_ms = peewee.BigIntegerField()
    removed_ms = peewee.BigIntegerField(null=True)
    manager_id = peewee.IntegerField(null=True)
    manager_stopped = peewee.BooleanField(default=False)

    class Meta:
        """Those of a manager who are stopped, or are not, are looked up together."""

        indexes: ClassVar[Any] = ((("manager_id", "manager_stopped"), False),)


class Manager(Table):
    """A manager without his counters. Removed ones stay, so that late bytes below them reach their parents.

    The columns of limits and times are those of users. `name_key` is free again after a removal.
    """

    parent_id = peewee.IntegerField(null=True, index=True)
    name = peewee.TextField()
    name_key = peewee.TextField(null=True, unique=True)
    status = peewee.TextField()
    reason = peewee.TextField(null=True)
    quota_bytes = peewee.BigIntegerField(null=True)
    up_limit_bytes = peewee.BigIntegerField(null=True)
    down_limit_bytes = peewee.BigIntegerField(null=True)
    max_sessions = peewee.IntegerField(null=True)
    max_online = peewee.IntegerField(null=True)
    max_active = peewee.IntegerField(null=True)
    notice_percent = peewee.IntegerField()
    notices = peewee.IntegerField()
    penalty_s = peewee.IntegerField()
    reset = peewee.TextField()
    reset_anchor = peewee.TextField()
    reset_day = peewee.IntegerField(null=True)
    reset_month = peewee.IntegerField(null=True)
    zone = peewee.TextField()
    duration_s = peewee.BigIntegerField(null=True)
    start_at_ms = peewee.BigIntegerField(null=True)
    due_ms = peewee.BigIntegerField(null=True, index=True)
    password_hash = peewee.TextField(null=True)
    credential = peewee.IntegerField(default=0)
    created_ms = peewee.BigIntegerField()
    removed_ms = peewee.BigIntegerField(null=True)


class ManagerCounter(Table):
    """What everybody below a manager has used, and what leases may still take of his limits: the hot row."""

    manager_id = peewee.IntegerField(primary_key=True)
    up_bytes = peewee.BigIntegerField(default=0)
    down_bytes = peewee.BigIntegerField(default=0)
    life_up_bytes = peewee.BigIntegerField(default=0)
    life_down_bytes = peewee.BigIntegerField(default=0)
    period_start_ms = peewee.BigIntegerField(default=0)
    first_ms = peewee.BigIntegerField(null=True)
    held_total_bytes = peewee.BigIntegerField(default=0)
    held_up_bytes = peewee.BigIntegerField(default=0)
    held_down_bytes = peewee.BigIntegerField(default=0)


class Counter(Table):
    """From where a user's present period is counted.

    His bytes in all are the billed totals of his meters and what was carried over from before them; those of
    his period are what they exceed the base by. So a report writes its meters only.
    """

    user_id = peewee.IntegerField(primary_key=True)
    carried_up_bytes = peewee.BigIntegerField(default=0)
    carried_down_bytes = peewee.BigIntegerField(default=0)
    base_up_bytes = peewee.BigIntegerField(default=0)
    base_down_bytes = peewee.BigIntegerField(default=0)
    period_start_ms = peewee.BigIntegerField(default=0)
    first_ms = peewee.BigIntegerField(null=True)
    last_ms = peewee.BigIntegerField(null=True)


class Placing(Table):
    """Who was ever placed on an endpoint: his late bytes count, those of anybody else do not."""

    user_id = peewee.IntegerField()
    endpoint_id = peewee.IntegerField()

    class Meta:
        """One row a pair."""

        primary_key = peewee.CompositeKey("user_id", "endpoint_id")
        without_rowid = True


class Assignment(Table):
    """The placing of a user on an endpoint."""

    user_id = peewee.IntegerField()
    endpoint_id = peewee.IntegerField(index=True)

    class Meta:
        """One row a pair."""

        primary_key = peewee.CompositeKey("user_id", "endpoint_id")
        without_rowid = True


class Ledger(Table):
    """A node's ledger: the source of absolute totals, its open hour, and the order of its latest report.

    `serial` counts the batches of leases given to it.
    """

    name = peewee.TextField(unique=True)
    node_id = peewee.IntegerField(index=True)
    created_ms = peewee.BigIntegerField()
    epoch = peewee.BigIntegerField(default=0)
    sequence = peewee.BigIntegerField(default=0)
    hour = peewee.IntegerField(default=0)
    serial = peewee.BigIntegerField(default=0)


class Lease(Table):
    """Up to where a ledger's node may serve a user: absolute raw totals of that ledger."""

    user_id = peewee.IntegerField()
    ledger_id = peewee.IntegerField()
    total_bytes = peewee.BigIntegerField(null=True)
    up_bytes = peewee.BigIntegerField(null=True)
    down_bytes = peewee.BigIntegerField(null=True)
    held_total_bytes = peewee.BigIntegerField(default=0)
    held_up_bytes = peewee.BigIntegerField(default=0)
    held_down_bytes = peewee.BigIntegerField(default=0)

    class Meta:
        """One row a user and ledger; read by the ledger when its node tells what it holds."""

        primary_key = peewee.CompositeKey("user_id", "ledger_id")
        indexes: ClassVar[Any] = ((("ledger_id", "user_id"), False),)
        without_rowid = True


class Unlearned(Table):
    """Of whose limits a node may hold what is not known; found out when it was asked."""

    node_id = peewee.IntegerField()
    manager_id = peewee.IntegerField(index=True)

    class Meta:
        """One row a pair."""

        primary_key = peewee.CompositeKey("node_id", "manager_id")
        without_rowid = True


class Recall(Table):
    """An idle node is asked to give a user's lease back, until it has."""

    node_id = peewee.IntegerField()
    user_id = peewee.IntegerField()

    class Meta:
        """One row a pair."""

        primary_key = peewee.CompositeKey("node_id", "user_id")
        without_rowid = True


class Meter(Table):
    """The highest totals seen of one user on one endpoint under one ledger, and what was billed of them.

    Rows lie in the order of their ledgers: a report then dirties a few pages in a row.
    """

    ledger_id = peewee.IntegerField()
    user_id = peewee.IntegerField(index=True)
    endpoint_id = peewee.IntegerField()
    up_bytes = peewee.BigIntegerField()
    down_bytes = peewee.BigIntegerField()
    billed_up_bytes = peewee.BigIntegerField()
    billed_down_bytes = peewee.BigIntegerField()
    last_ms = peewee.BigIntegerField()

    class Meta:
        """One row a meter and ledger."""

        primary_key = peewee.CompositeKey("ledger_id", "user_id", "endpoint_id")
        without_rowid = True


class Opening(Table):
    """A meter's totals when its open hour began; apart from the meter, since it is written once an hour."""

    ledger_id = peewee.IntegerField()
    user_id = peewee.IntegerField(index=True)
    endpoint_id = peewee.IntegerField()
    hour = peewee.IntegerField()
    up_bytes = peewee.BigIntegerField()
    down_bytes = peewee.BigIntegerField()
    billed_up_bytes = peewee.BigIntegerField()
    billed_down_bytes = peewee.BigIntegerField()

    class Meta:
        """One row a meter and ledger."""

        primary_key = peewee.CompositeKey("ledger_id", "user_id", "endpoint_id")
        without_rowid = True


class History(Table):
    """What one user moved over one endpoint in one closed hour, counted since the epoch: raw and billed."""

    hour = peewee.IntegerField()
    user_id = peewee.IntegerField()
    endpoint_id = peewee.IntegerField()
    up_bytes = peewee.BigIntegerField()
    down_bytes = peewee.BigIntegerField()
    billed_up_bytes = peewee.BigIntegerField()
    billed_down_bytes = peewee.BigIntegerField()

    class Meta:
        """Read by time."""

        primary_key = peewee.CompositeKey("hour", "user_id", "endpoint_id")
        without_rowid = True


class Volume(Table):
    """What all users moved over one endpoint in one closed hour: the sum of their rows of history."""

    hour = peewee.IntegerField()
    endpoint_id = peewee.IntegerField()
    up_bytes = peewee.BigIntegerField()
    down_bytes = peewee.BigIntegerField()
    billed_up_bytes = peewee.BigIntegerField()
    billed_down_bytes = peewee.BigIntegerField()

    class Meta:
        """Read by time."""

        primary_key = peewee.CompositeKey("hour", "endpoint_id")
        without_rowid = True


class Month(Table):
    """Up to which batch the file of a month belongs to this database, and the mark of that batch."""

    month = peewee.IntegerField(primary_key=True)
    sequence = peewee.BigIntegerField()
    mark = peewee.BigIntegerField()


class Desired(Table):
    """An item of a node's desired state; without a body it is a tombstone."""

    node_id = peewee.IntegerField()
    key = peewee.TextField()
    generation = peewee.BigIntegerField()
    user_id = peewee.IntegerField(null=True, index=True)
    body = peewee.BlobField(null=True)

    class Meta:
        """Read by node and generation."""

        primary_key = peewee.CompositeKey("node_id", "key")
        indexes: ClassVar[Any] = ((("node_id", "generation"), False),)


class Failure(Table):
    """An item that a node could not apply, until it can."""

    node_id = peewee.IntegerField()
    key = peewee.TextField()
    generation = peewee.BigIntegerField()
    error = peewee.TextField()

    class Meta:
        """One row an item."""

        primary_key = peewee.CompositeKey("node_id", "key")


class Quarantine(Table):
    """A row of a report that was not billed, until an admin decides."""

    node_id = peewee.IntegerField()
    ledger = peewee.TextField()
    user_id = peewee.IntegerField(null=True)
    endpoint_id = peewee.IntegerField(null=True)
    up_bytes = peewee.TextField(null=True)
    down_bytes = peewee.TextField(null=True)
    content = peewee.TextField()
    cause = peewee.TextField()
    reason = peewee.TextField()
    first_ms = peewee.BigIntegerField()
    last_ms = peewee.BigIntegerField()
    seen_count = peewee.IntegerField(default=1)
    decision = peewee.TextField(null=True)

    class Meta:
        """Open rows are looked up by their meter."""

        indexes: ClassVar[Any] = ((("ledger", "user_id", "endpoint_id"), False),)


class Incident(Table):
    """Something that went wrong on a node."""

    node_id = peewee.IntegerField()
    number = peewee.BigIntegerField()
    at_ms = peewee.BigIntegerField()
    received_ms = peewee.BigIntegerField()
    kind = peewee.TextField()
    detail = peewee.TextField()

    class Meta:
        """A repeated incident is the same row."""

        indexes: ClassVar[Any] = ((("node_id", "number"), True),)


class Fact(Table):
    """One small number by its name."""

    name = peewee.TextField(primary_key=True)
    value = peewee.BigIntegerField()


class Event(Table):
    """A change of state, with who made it."""

    at_ms = peewee.BigIntegerField()
    actor = peewee.TextField()
    kind = peewee.TextField()
    subject = peewee.TextField()
    data = peewee.BlobField()

    class Meta:
        """Found by what, by whom and by kind, in their order."""

        indexes: ClassVar[Any] = (
            (("subject", "id"), False),
            (("actor", "id"), False),
            (("kind", "id"), False),
        )


ALL: tuple[type[Table], ...] = (
    Admin,
    Node,
    Enrolment,
    Endpoint,
    User,
    Manager,
    ManagerCounter,
    Counter,
    Placing,
    Assignment,
    *wireguard_tables.ALL,
    Ledger,
    Lease,
    Unlearned,
    Recall,
    Meter,
    Opening,
    History,
    Volume,
    Month,
    Desired,
    Failure,
    Quarantine,
    Incident,
    Fact,
    Event,
)
