"""Addresses in the tunnels of WireGuard endpoints: who has which, which is free.

What always holds: an address that was released stays its last user's until it is forgotten here, so that
nobody gets what was meant for him.
"""

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from collector.domain import addressing
from collector.domain.addressing import Pool, Version
from collector.domain.wireguard import Tunnelled
from collector.store.session import Session
from shared.names import EndpointId, UserId

#: Taken addresses read at once: the one looked at is mostly free, and then the first row says so.
_READ = (16, 4_096)

_MOVE = (
    "INSERT INTO wireguard_cursor (endpoint_id, version, number) VALUES (?, ?, ?)"
    " ON CONFLICT (endpoint_id, version) DO UPDATE SET number = excluded.number"
)


class Holder(NamedTuple):
    """Whose an address is, or was until it was released."""

    user: UserId
    released_ms: int | None


def holder(session: Session, endpoint: EndpointId, text: str) -> Holder | None:
    """Who has an address; None is nobody."""
    sql = "SELECT user_id, released_ms FROM wireguard_address WHERE endpoint_id = ? AND address = ?"
    rows = session.rows(sql, (endpoint, text))
    return Holder(UserId(rows[0][0]), rows[0][1]) if rows else None


def of_user(session: Session, user: UserId) -> dict[EndpointId, dict[Version, Tunnelled]]:
    """The addresses that a user has, by endpoint."""
    rows = session.rows(
        "SELECT endpoint_id, version, address, fixed FROM wireguard_address"
        " WHERE user_id = ? AND released_ms IS NULL",
        (user,),
    )
    found: dict[EndpointId, dict[Version, Tunnelled]] = {}
    for endpoint, version, text, fixed in rows:
        found.setdefault(EndpointId(endpoint), {})[Version(version)] = Tunnelled(text, bool(fixed))
    return found


def of_endpoint(session: Session, endpoint: EndpointId) -> dict[UserId, dict[Version, Tunnelled]]:
    """The addresses that the users of an endpoint have."""
    rows = session.rows(
        "SELECT user_id, version, address, fixed FROM wireguard_address"
        " WHERE endpoint_id = ? AND released_ms IS NULL",
        (endpoint,),
    )
    found: dict[UserId, dict[Version, Tunnelled]] = {}
    for user, version, text, fixed in rows:
        found.setdefault(UserId(user), {})[Version(version)] = Tunnelled(text, bool(fixed))
    return found


def following(session: Session, endpoint: EndpointId, pools: Iterable[Pool]) -> str | None:
    """The next address of these pools, all of one version; None when all are taken or were until lately.

    It is looked for after the one that was given out last, so that an address rests as long as it can.
    """
    for pool in pools:
        start = _cursor(session, endpoint, pool)
        free = _free(session, endpoint, pool, start, pool.last)
        if free is None:
            free = _free(session, endpoint, pool, pool.first, start - 1)
        if free is not None:
            session.run(_MOVE, (endpoint, pool.version, free))
            return str(pool.address(free))
    return None


def take(session: Session, user: UserId, endpoint: EndpointId, address: Tunnelled) -> None:
    """Give an address that is free, or was this user's own, to a user."""
    parsed = ipaddress.ip_address(address.text)
    session.run(
        "DELETE FROM wireguard_address"
        " WHERE endpoint_id = ? AND address = ? AND user_id = ? AND released_ms IS NOT NULL",
        (endpoint, address.text, user),
    )
    session.run(
        "INSERT INTO wireguard_address (endpoint_id, address, version, number, user_id, fixed)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (endpoint, address.text, parsed.version, addressing.number(parsed), user, address.fixed),
    )


def fix(session: Session, endpoint: EndpointId, address: Tunnelled) -> None:
    """Store whether somebody asked for this address."""
    session.run(
        "UPDATE wireguard_address SET fixed = ? WHERE endpoint_id = ? AND address = ?",
        (address.fixed, endpoint, address.text),
    )


def release(session: Session, endpoint: EndpointId, texts: Iterable[str], now_ms: int) -> None:
    """Let addresses rest from now on."""
    session.run_many(
        "UPDATE wireguard_address SET released_ms = ? WHERE endpoint_id = ? AND address = ?",
        [(now_ms, endpoint, text) for text in texts],
    )


def release_all(session: Session, user: UserId, now_ms: int) -> None:
    """Let every address of a user rest from now on."""
    session.run(
        "UPDATE wireguard_address SET released_ms = ? WHERE user_id = ? AND released_ms IS NULL",
        (now_ms, user),
    )


def forget_rested(session: Session, endpoint: EndpointId, until_ms: int) -> None:
    """Let addresses that were released by then be given out again."""
    session.run(
        "DELETE FROM wireguard_address WHERE endpoint_id = ? AND released_ms <= ?", (endpoint, until_ms)
    )


def remove(session: Session, endpoint: EndpointId) -> None:
    """Forget the addresses of an endpoint that is gone: its number is never given out again."""
    session.run("DELETE FROM wireguard_address WHERE endpoint_id = ?", (endpoint,))
    session.run("DELETE FROM wireguard_cursor WHERE endpoint_id = ?", (endpoint,))


def _cursor(session: Session, endpoint: EndpointId, pool: Pool) -> int:
    """The number after the one that was given out last, where that was of this pool."""
    sql = "SELECT number FROM wireguard_cursor WHERE endpoint_id = ? AND version = ?"
    rows = session.rows(sql, (endpoint, pool.version))
    return int(rows[0][0]) + 1 if rows and pool.first <= rows[0][0] < pool.last else pool.first


def _free(session: Session, endpoint: EndpointId, pool: Pool, at: int, last: int) -> int | None:
    """The first free number from `at` to `last`; walks along what is taken, never further than to a gap."""
    most, longer = _READ
    while at <= last:
        rows = session.rows(
            "SELECT number FROM wireguard_address WHERE endpoint_id = ? AND version = ?"
            " AND number BETWEEN ? AND ? ORDER BY number LIMIT ?",
            (endpoint, pool.version, at, last, most),
        )
        taken = [number for (number,) in rows]
        at = addressing.gap(at, taken, pool)
        if len(taken) < most or at <= taken[-1]:
            return at if at <= last else None
        most = longer
    return None
