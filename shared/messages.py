"""Messages between agent and collector, as JSON over HTTPS (rows R1, H5).

What always holds: a usage row carries absolute totals since the ledger began, so a report may be lost,
repeated, reordered or replayed and the bill is the same. An item of desired state is replaced as a whole;
an item without a body is one that the node must no longer serve.
"""

from typing import Any, Literal

import msgspec

from shared import endpoints
from shared.names import EndpointId, LedgerId, NodeId, UserId


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of every message: an immutable value; unknown fields of a newer peer are ignored."""


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a person or a script sends: an unknown field is refused, since it is a typing error."""


# --- joining the fleet -------------------------------------------------------------------------------------


class Registration(Message, frozen=True):
    """What an agent says of itself at `POST /api/v1/nodes/register`; the one-time token is the bearer."""

    agent_version: str
    hostname: str


class Registered(Message, frozen=True):
    """The node's identity, given once. The secret is never shown again."""

    node: NodeId
    name: str
    client_id: str
    client_secret: str


class TokenRequest(Message, frozen=True):
    """`POST /api/v1/auth/token`: client id + secret of a node, or username + password of a person."""

    client_id: str | None = None
    client_secret: str | None = None
    username: str | None = None
    password: str | None = None


class Token(Message, frozen=True, omit_defaults=False):
    """A bearer token and the seconds it lives (RFC 6749 section 5.1 wants the type said)."""

    access_token: str
    expires_in: int
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the scheme's name


# --- desired state -----------------------------------------------------------------------------------------


class Endpoint(Message, frozen=True, tag="endpoint"):
    """One way into a node.

    `extra` is merged into what the core is configured with for this endpoint: what no typed part can say.
    """

    endpoint: EndpointId
    protocol: endpoints.Protocol
    port: int
    listen: str = "0.0.0.0"  # noqa: S104 - an endpoint is there to be reached
    transport: endpoints.Transport = endpoints.Tcp()
    security: endpoints.Security = endpoints.Plain()
    options: endpoints.Options | None = None
    extra: dict[str, Any] | None = None


class Account(Message, frozen=True, tag="account", gc=False):
    """One user on one endpoint; what a protocol has in place of the UUID is derived from it.

    `peer` is the user of a WireGuard endpoint, whose keys are his own.
    """

    user: UserId
    endpoint: EndpointId
    uuid: str
    peer: endpoints.Peer | None = None
    rate: endpoints.Rate | None = None
    #: Whether the user has limits: then a node serves him under a lease only. Leases given under other terms
    #: are void.
    terms: int | None = None


class Item(Message, frozen=True, gc=False):
    """One piece of a node's desired state; `body` is absent when it must no longer be served."""

    key: str
    generation: int
    body: Endpoint | Account | None = None


class Penalty(msgspec.Struct, frozen=True, array_like=True):
    """A user who may not be served for so many seconds from now, whatever the items say (row H7)."""

    user: UserId
    for_s: float


class DesiredState(Message, frozen=True):
    """Items changed since the generation asked for, or all of them when `full`.

    A full state replaces everything the node holds; its generation may be adopted whatever came before.
    `recalled` are users whose leases are needed on other nodes: who is idle here gives all of his back.
    `penalised` are all who have a penalty now: whoever is not among them has none. `penalty_mark` names that
    list, 0 the empty one; the next poll says it, so that no list is missed.
    """

    generation: int
    full: bool
    items: list[Item]
    recalled: list[UserId] = []
    penalised: list[Penalty] = []
    penalty_mark: int = 0


class Applied(Message, frozen=True, gc=False):
    """The outcome for one item; `error` says in words why it could not be applied."""

    key: str
    generation: int
    error: str | None = None


class SyncReport(Message, frozen=True):
    """`POST /api/v1/nodes/{id}/configs/sync`: what became of the items of one generation."""

    generation: int
    items: list[Applied]


# --- metering ----------------------------------------------------------------------------------------------


class Usage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Absolute totals of one user on one endpoint since the ledger began, in bytes of payload."""

    user: UserId
    endpoint: EndpointId
    up: int
    down: int


class Past(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Totals that were reached in an earlier quarter of an hour than the present one.

    `quarter` counts quarters of an hour since the epoch in UTC, by the node's clock: every boundary of a
    period, in every zone, is the boundary of one. Bytes that were read just after a boundary, in an interval
    that began before it, are of the earlier quarter. For the quarter itself the node's clock is all there is:
    it may be of any age, and lie in the future.
    """

    user: UserId
    endpoint: EndpointId
    up: int
    down: int
    quarter: int


class Lease(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Up to where a node may serve a user without asking: absolute totals of the node's ledger, in bytes.

    The three are both directions together, what the user sends, what he receives; None is no limit. `spare`
    is what the node may keep of it while he is idle.
    """

    user: UserId
    terms: int
    spare: int = 0
    total: int | None = None
    up: int | None = None
    down: int | None = None


class Report(Message, frozen=True):
    """`POST /api/v1/usage`: totals by max, under the id of the ledger that counted them.

    `rows` are the totals now, in this `quarter` of an hour (0: the node does not say); `past` are those at
    the ends of earlier ones that were not confirmed yet, and the totals now of meters that last moved in an
    earlier one. They come in the order of their quarters and are to be booked in it, before `rows`, so that
    bytes count in the period in which they were used. One meter may be named several times, and most of what
    is told again at a full compare is no news. Both lists together have at most MAX_REPORT_ROWS rows.
    Leases need an order, which totals do not: `epoch` counts the starts of the agent under this ledger,
    `sequence` its reports since. `returned` are leases that the node has cut down by itself, already in
    force; `unleased` are limited users it ought to serve and has no valid lease for.
    `serial` is that of the last leases the node has taken: above the collector's own, the collector has
    forgotten some. Asked for (`learning`, as the last answer had it), the node tells in `held` up to where it
    has served or may serve whom: of all users above `held_after` up to the last one it names, or of all above
    where none is still to come (`untold`). Whoever of those is not named was not served and may not be.
    """

    ledger: LedgerId
    rows: list[Usage]
    quarter: int = 0
    past: list[Past] = []
    tags: list[str] = []
    epoch: int = 0
    sequence: int = 0
    returned: list[Lease] = []
    unleased: list[UserId] = []
    serial: int = 0
    learning: int = 0
    held: list[Lease] = []
    held_after: int = 0
    untold: int = 0


class Quarantined(Message, frozen=True):
    """A row that was not billed, and why; `row` is its place in `past` and `rows` taken as one list."""

    row: int
    reason: str


class ReportAnswer(Message, frozen=True):
    """Sent after the commit.

    `stopped` names users of this report who may no longer be served: the node cuts them at once, without
    waiting for the desired state that says the same. `epoch_seen` is the highest epoch this ledger has
    reported under: one above the node's own means that the node's state was restored from a backup.
    `serial` numbers the leases given to this ledger, batch by batch, these included. `learning` asks the node
    what it holds, since the collector may have forgotten; it names the question, 0 asks nothing. A report
    answers it that repeats it.
    """

    accepted: int
    quarantined: list[Quarantined] = []
    stopped: list[UserId] = []
    leases: list[Lease] = []
    epoch_seen: int = 0
    serial: int = 0
    learning: int = 0


# --- sessions ----------------------------------------------------------------------------------------------


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a client is, as far as a file on the node tells (row H6)."""

    country: str | None = None
    city: str | None = None
    isp: str | None = None


class Sighting(msgspec.Struct, frozen=True, array_like=True):
    """A user is connected to an endpoint from one address, however many connections he has.

    `address` is the keyed hash of the address, 32 hexadecimal digits; the address itself never leaves the
    node's memory. `device` is what the client calls itself, where its protocol knows that.
    """

    user: UserId
    endpoint: EndpointId
    address: str
    device: str | None = None
    place: Place | None = None


class Sightings(Message, frozen=True):
    """`POST /api/v1/nodes/sessions`: who is connected now; `salt` numbers the key of the hashes.

    Without rows it asks for the salt. A list that is too long comes in several messages.
    """

    salt: int
    rows: list[Sighting] = []


class SightingsAnswer(Message, frozen=True, omit_defaults=False):
    """The present salt, and whether the rows were taken: those made with another salt are not.

    `key` is a secret, to be kept in memory only and forgotten after `for_s` seconds.
    """

    salt: int
    key: bytes
    for_s: float
    taken: bool


# --- health ------------------------------------------------------------------------------------------------


class Incident(Message, frozen=True):
    """Something that went wrong on a node and what was done about it.

    `number` makes repeats harmless. It rises over the life of the node, also when its ledger is lost: it
    is at least the time in milliseconds.
    """

    number: int
    at_ms: int
    kind: str
    detail: str


class Heartbeat(Message, frozen=True):
    """`POST /api/v1/nodes/heartbeat`: how the node is (R1, R5)."""

    cpu_percent: float
    memory_percent: float
    bandwidth_in_bps: int
    bandwidth_out_bps: int
    latency_ms: float
    generation: int
    agent_version: str
    core_version: str | None = None
    core_running: bool = False
    limitations: list[str] = []
    incidents: list[Incident] = []


class HeartbeatAnswer(Message, frozen=True):
    """The highest incident number stored for the node; older ones need not be sent again."""

    incidents_seen: int
