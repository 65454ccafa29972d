"""Access tokens for nodes, admins and managers.

What always holds: an unknown account costs what a known one costs; a node's right secret is never locked out
by somebody else's wrong ones, since 256 bits need no throttle; passwords do, and it comes before the hash.
"""

import asyncio
import logging
import math
import time
from http import HTTPStatus
from typing import Any

from collector import passwords, tokens
from collector.app import admins, enrolment, managers
from collector.domain import refusals
from collector.domain.access import Actor, Role
from collector.fronts.rest import problems, routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route
from shared.logs import event
from shared.messages import Token, TokenRequest

LOGGER = logging.getLogger(__name__)


async def token(parts: Parts, call: Call[TokenRequest]) -> Token:
    """Prove who you are and get a token."""
    asked = call.body
    if asked.client_id is not None and asked.client_secret is not None:
        caller = await _node(parts, asked.client_id, asked.client_secret)
    elif asked.username is not None and asked.password is not None:
        caller = await _person(parts, asked.username, asked.password)
    else:
        detail = "send client_id and client_secret of a node, or username and password of a person"
        raise refusals.Refused(refusals.Kind.INVALID, detail)
    given = parts.callers.token(caller, parts.now_ms())
    return Token(access_token=given, expires_in=tokens.life_s(caller.actor.role))


async def _node(parts: Parts, client_id: str, secret: str) -> tokens.Bearer:
    known, standing = await parts.data.read(_node_credentials, client_id)
    right = passwords.secret_matches(known.secret_hash if known else None, secret)
    if known is None or standing is None or not right:
        raise _wrong(Role.NODE, "this client id and secret do not belong together")
    if standing.revoked:
        raise _wrong(Role.NODE, "this node is revoked; enrol it again")
    return tokens.Bearer(Actor(Role.NODE, known.node), standing.credential)


def _node_credentials(
    session: Any,  # noqa: ANN401 - the store's own, which fronts pass on unseen
    client_id: str,
) -> tuple[enrolment.Credentials | None, enrolment.Standing | None]:
    # One snapshot: an enrolment in between must not lend its number to the secret that it voids.
    known = enrolment.credentials(session, client_id)
    return known, enrolment.standing(session, known.node) if known else None


async def _person(parts: Parts, name: str, password: str) -> tokens.Bearer:
    account = passwords.hash_secret(name).hex()
    wait_s = parts.logins.take(account, time.monotonic())
    if wait_s > 0:
        raise _too_many(wait_s)
    role, known = await parts.data.read(_password_hash, name)
    async with parts.hashing:
        right = await asyncio.to_thread(
            passwords.password_matches, known.password_hash if known else None, password
        )
    if known is None or not right:
        raise _wrong(role, "this username and password do not belong together")
    parts.logins.give_back(account, time.monotonic())
    return tokens.Bearer(Actor(role, known.id), known.credential)


def _password_hash(
    session: Any,  # noqa: ANN401 - the store's own, which fronts pass on unseen
    name: str,
) -> tuple[Role, admins.Credentials | managers.Credentials | None]:
    # Both are asked for whatever the first one says: who somebody is, is not told by how long it takes.
    admin, manager = admins.credentials(session, name), managers.credentials(session, name)
    return (Role.MANAGER, manager) if admin is None and manager is not None else (Role.ADMIN, admin)


def _wrong(role: Role, detail: str) -> refusals.Refused:
    # Not even the name is logged: people type passwords into the wrong field.
    event(LOGGER, logging.WARNING, "login_refused", role=role.value)
    return refusals.Refused(refusals.Kind.UNAUTHENTICATED, detail)


def _too_many(wait_s: float) -> problems.Rejected:
    seconds = math.ceil(wait_s)
    detail = f"too many failed logins: try again in {seconds} s"
    headers = {"retry-after": str(seconds)}
    return problems.Rejected(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=headers)


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/auth/token",
        handler=token,
        roles=routes.ANYBODY,
        summary="Get an access token for a node, an admin or a manager.",
        body=TokenRequest,
        max_bytes=8 * 1024,
        answer=Token,
    ),
)
