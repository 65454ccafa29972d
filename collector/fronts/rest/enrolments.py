"""One-time tokens: minted for a node by an admin, redeemed by its agent."""

import secrets

import msgspec

from collector import passwords
from collector.app import enrolment
from collector.domain.refusals import Kind, Refused
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route
from shared.messages import Registered, Registration
from shared.names import NodeId

TOKEN_PREFIX = "tge"  # noqa: S105 - what a token begins with
SECRET_PREFIX = "tgs"  # noqa: S105 - what a secret begins with


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time token, shown once, with the line to run on the node; `expires_in` is in seconds."""

    token: str
    command: str
    ca_hash: str | None
    expires_in: int


async def mint(parts: Parts, call: Call[None]) -> Enrolment:
    """Make a token; earlier unused ones of the node are void."""
    token = passwords.new_secret(TOKEN_PREFIX)
    now_ms = parts.now_ms()
    joining = parts.joining
    await parts.change(
        enrolment.mint,
        NodeId(call.id),
        passwords.hash_secret(token),
        now_ms + joining.ttl_s * 1000,
        call.actor,
        now_ms,
    )
    return Enrolment(
        token=token, command=joining.command(token), ca_hash=joining.ca_hash, expires_in=joining.ttl_s
    )


async def redeem(parts: Parts, call: Call[Registration]) -> Registered:
    """Spend a token for a credential."""
    if call.bearer is None:
        raise Refused(Kind.UNAUTHENTICATED, "send the enrolment token as 'Authorization: Bearer TOKEN'")
    client_id = f"node-{secrets.token_hex(8)}"
    client_secret = passwords.new_secret(SECRET_PREFIX)
    node = await parts.change(
        enrolment.redeem,
        passwords.hash_secret(call.bearer),
        client_id,
        passwords.hash_secret(client_secret),
        call.body,
        parts.now_ms(),
    )
    return Registered(node=node.id, name=node.name, client_id=client_id, client_secret=client_secret)


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/nodes/register",
        handler=redeem,
        roles=routes.ANYBODY,
        summary="Join the fleet: the one-time token is the bearer.",
        body=Registration,
        max_bytes=8 * 1024,
        answer=Registered,
    ),
    Route(
        method="POST",
        path="/api/v1/nodes/{id}/enrolments",
        handler=mint,
        roles=routes.ADMINS,
        summary="Make a one-time token and the line to run on the node.",
        answer=Enrolment,
        status=201,
    ),
)
