"""Users of WireGuard endpoints: who is put on one gets keys and addresses there (rows R5, R7, H1).

What always holds: a user has keys and addresses on exactly the WireGuard endpoints that he is assigned to; an
address that was released rests before anybody else gets it.
"""

import dataclasses
import secrets
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from collector.app import configs, tenants
from collector.domain import addressing as rules
from collector.domain import course, refusals, wgquick, wireguard
from collector.domain.access import SYSTEM, Actor
from collector.domain.addressing import Pool, Version
from collector.domain.changes import Change
from collector.domain.endpoints import Endpoint
from collector.domain.users import User
from collector.domain.wireguard import Peer, Terms, Tunnelled, Wish
from collector.store import addressing, endpoints, events, users
from collector.store import wireguard as peers
from collector.store.session import Session
from shared.endpoints import WireGuard
from shared.names import EndpointId, UserId

DAY_MS = 24 * 3600 * 1000
TERMS = Terms(secrets.token_bytes, DAY_MS)


class Tunnel(NamedTuple):
    """A user on an endpoint."""

    endpoint: Endpoint
    peer: Peer


class _Deed(NamedTuple):
    """On whose behalf a user is changed, when and under which terms."""

    user: User
    terms: Terms
    actor: Actor
    now_ms: int


def of_user(session: Session, user: UserId, actor: Actor = SYSTEM) -> list[Tunnel]:
    """The WireGuard endpoints of a user, and what he is on them."""
    tenants.require_user(session, actor, user)
    known = peers.of_user(session, user)
    return [
        Tunnel(endpoint, known[endpoint.id])
        for endpoint in (endpoints.of_user(session, user) if known else [])
        if endpoint.id in known
    ]


def settle(
    session: Session,
    user: User,
    wishes: Mapping[EndpointId, Wish],
    actor: Actor,
    now_ms: int,
    terms: Terms = TERMS,
) -> None:
    """Give a user keys and addresses on the endpoints he is assigned to, and take those of all others."""
    deed = _Deed(user, terms, actor, now_ms)
    before = peers.of_user(session, user.id)
    wanted = {
        one.id: one for one in endpoints.of_user(session, user.id) if isinstance(one.options, WireGuard)
    }
    if odd := sorted(wishes.keys() - wanted.keys()):
        problem = "this is no WireGuard endpoint that the user is put on: leave it out"
        raise refusals.invalid({f"wireguard.{number}": problem for number in odd})
    _drop(session, deed, [peer for number, peer in before.items() if number not in wanted])
    for number, endpoint in wanted.items():
        wish, field = wishes.get(number, Wish()), f"wireguard.{number}."
        if number in before:
            _change(session, deed, Tunnel(endpoint, before[number]), wish, field)
        else:
            _create(session, deed, endpoint, wish, field)


def change(
    session: Session,
    user: UserId,
    endpoint: EndpointId,
    wish: Wish,
    actor: Actor,
    now_ms: int,
    terms: Terms = TERMS,
) -> Change[Tunnel]:
    """Change the keys or addresses of a user on an endpoint; its node is told."""
    found = tenants.require_user(session, actor, user)
    tunnel = _require(session, user, endpoint)
    _change(session, _Deed(found, terms, actor, now_ms), tunnel, wish, "")
    return Change(_require(session, user, endpoint), configs.refresh(session, [found]))


def rotate(
    session: Session, user: UserId, endpoint: EndpointId, actor: Actor, now_ms: int, terms: Terms = TERMS
) -> Change[Tunnel]:
    """Make new keys for a user on an endpoint; a pair that is his own stays, with a new preshared key."""
    found = tenants.require_user(session, actor, user)
    tunnel = _require(session, user, endpoint)
    after = dataclasses.replace(tunnel.peer, keys=wireguard.rotated(tunnel.peer.keys, terms.random))
    _save(session, _Deed(found, terms, actor, now_ms), tunnel.peer, after)
    return Change(Tunnel(tunnel.endpoint, after), configs.refresh(session, [found]))


def config(
    session: Session, user: UserId, endpoint: EndpointId, dns: tuple[str, ...], actor: Actor = SYSTEM
) -> wgquick.Tunnel:
    """What the user's configuration for an endpoint is made of. It holds secrets."""
    found = tenants.require_user(session, actor, user)
    place, peer = _require(session, user, endpoint)
    if not isinstance(place.options, WireGuard) or place.host is None:
        raise refusals.conflict(
            f"endpoint {endpoint} has no host, so users cannot be told where it is: set its host, the name or"
            " address that they connect to",
            {"host": "set it on the endpoint"},
        )
    return wgquick.Tunnel(
        title=f"{found.name} at {place.name}",
        keys=peer.keys,
        addresses=peer.texts,
        dns=dns,
        mtu=place.options.mtu,
        public_key=wireguard.public_of(place.options.private_key),
        host=place.host,
        port=place.port,
    )


def release(session: Session, user: UserId, now_ms: int) -> None:
    """Take all keys and addresses of a user who is being removed."""
    peers.forget_all(session, user)
    addressing.release_all(session, user, now_ms)


def refit(
    session: Session, before: Endpoint, after: Endpoint, actor: Actor, now_ms: int, terms: Terms = TERMS
) -> list[User]:
    """Give users addresses of every version that a changed interface has; returns whom that concerned.

    Refused where an address that somebody has would be outside its networks, or nobody's.
    """
    pools = _networks(after)
    if pools == _networks(before):
        return []
    held = addressing.of_endpoint(session, after.id)
    _require_fitting(held, pools)
    versions = {pool.version for pool in pools}
    odd = [number for number in peers.users_of(session, after.id) if held.get(number, {}).keys() != versions]
    people = list(users.among(session, odd).values())
    for user in people:
        deed = _Deed(user, terms, actor, now_ms)
        peer = peers.of_user(session, user.id)[after.id]
        kept = {version: one for version, one in peer.addresses.items() if version in versions}
        fitted = _addressed(session, deed, after, dataclasses.replace(peer, addresses=kept))
        _save(session, deed, peer, fitted)
    return people


def _require_fitting(held: Mapping[UserId, Mapping[Version, Tunnelled]], pools: list[Pool]) -> None:
    versions = {pool.version for pool in pools}
    misfits = [
        one.text
        for addresses in held.values()
        for version, one in addresses.items()
        if version in versions and rules.wrong(one.text, version, pools)
    ]
    if misfits:
        problem = (
            f"{len(misfits)} addresses of its users, {misfits[0]} for one, would be outside these networks"
            " or not for users: keep a network that holds them, or give those users other ones first"
        )
        raise refusals.conflict("users have addresses that do not fit", {"options.addresses": problem})


def _require(session: Session, user: UserId, endpoint: EndpointId) -> Tunnel:
    peer, place = peers.of_user(session, user).get(endpoint), endpoints.one(session, endpoint)
    if peer is None or place is None:
        raise refusals.not_found("WireGuard endpoint of this user with the number", endpoint)
    return Tunnel(place, peer)


def _create(session: Session, deed: _Deed, endpoint: Endpoint, wish: Wish, field: str) -> None:
    _check(session, deed, endpoint, wish, field)
    named = wish.public_key if isinstance(wish.public_key, str) else None
    keys = wireguard.new_keys(deed.terms.random, named)
    peer = Peer(user=deed.user.id, endpoint=endpoint.id, keys=keys, addresses={})
    for version, text in wish.addresses.items():
        if text is not None:
            peer = wireguard.with_address(peer, version, Tunnelled(text, fixed=True))
    peer = _addressed(session, deed, endpoint, peer)
    peers.save_keys(session, peer)
    for address in peer.addresses.values():
        addressing.take(session, peer.user, peer.endpoint, address)
    events.append_all(session, course.peer_created(deed.user, peer, deed.actor, deed.now_ms))


def _change(session: Session, deed: _Deed, tunnel: Tunnel, wish: Wish, field: str) -> None:
    if wish.empty:
        return
    endpoint, before = tunnel
    _check(session, deed, endpoint, wish, field)
    after = dataclasses.replace(before, keys=wireguard.rekeyed(before.keys, wish, deed.terms.random))
    for version, text in wish.addresses.items():
        present = before.addresses.get(version)
        if text is not None:
            after = wireguard.with_address(after, version, Tunnelled(text, fixed=True))
        elif present is not None:
            after = wireguard.with_address(after, version, Tunnelled(present.text))
    _save(session, deed, before, after)


def _save(session: Session, deed: _Deed, before: Peer, after: Peer) -> None:
    """Store what differs and tell of it."""
    told = course.peer_changed(deed.user, before, after, deed.actor, deed.now_ms)
    if not told:
        return
    peers.save_keys(session, after)
    endpoint, kept = after.endpoint, set(before.texts) & set(after.texts)
    addressing.release(session, endpoint, set(before.texts) - kept, deed.now_ms)
    for address in after.addresses.values():
        if address.text in kept:
            addressing.fix(session, endpoint, address)
        else:
            addressing.take(session, after.user, endpoint, address)
    events.append_all(session, told)


def _drop(session: Session, deed: _Deed, gone: Iterable[Peer]) -> None:
    for peer in gone:
        peers.forget(session, peer.user, [peer.endpoint])
        addressing.release(session, peer.endpoint, peer.texts, deed.now_ms)
        events.append_all(session, course.peer_removed(deed.user, peer, deed.actor, deed.now_ms))


def _addressed(session: Session, deed: _Deed, endpoint: Endpoint, peer: Peer) -> Peer:
    """The user with an address of every version that the interface has."""
    _let_rest(session, deed, endpoint)
    pools = _networks(endpoint)
    for version in sorted({pool.version for pool in pools} - peer.addresses.keys()):
        peer = wireguard.with_address(peer, version, _next(session, endpoint, version, pools))
    return peer


def _let_rest(session: Session, deed: _Deed, endpoint: Endpoint) -> None:
    """Addresses that have rested are free again."""
    addressing.forget_rested(session, endpoint.id, deed.now_ms - deed.terms.rest_ms)


def _networks(endpoint: Endpoint) -> list[Pool]:
    return rules.pools(endpoint.options.addresses) if isinstance(endpoint.options, WireGuard) else []


def _next(session: Session, endpoint: Endpoint, version: Version, pools: Iterable[Pool]) -> Tunnelled:
    mine = [pool for pool in pools if pool.version is version]
    text = addressing.following(session, endpoint.id, mine)
    if text is None:
        networks = " and ".join(str(pool.network) for pool in mine)
        raise refusals.conflict(
            f"endpoint {endpoint.id} has no address left in {networks}: take users off it and let their"
            " addresses rest, give its interface a larger network, or use another endpoint"
        )
    return Tunnelled(text)


def _check(session: Session, deed: _Deed, endpoint: Endpoint, wish: Wish, field: str) -> None:
    """Refuse what cannot be had: a key that is none, an address that is not the user's to have."""
    _let_rest(session, deed, endpoint)
    if wrong := wireguard.wrong(wish, _networks(endpoint)):
        raise refusals.invalid({field + name: problem for name, problem in wrong.items()})
    taken = {}
    if isinstance(wish.public_key, str):
        holder = peers.key_holder(session, endpoint.id, wish.public_key)
        if holder not in {None, deed.user.id}:
            taken["public_key"] = "another user of this endpoint has it: make a pair of your own"
    for version, text in wish.addresses.items():
        if text is not None and (problem := _taken(session, deed, endpoint, text)):
            taken[f"v{version}"] = problem
    if taken:
        fields = {field + name: problem for name, problem in taken.items()}
        raise refusals.conflict("the key or the address is somebody else's; choose another", fields)


def _taken(session: Session, deed: _Deed, endpoint: Endpoint, text: str) -> str | None:
    holder = addressing.holder(session, endpoint.id, text)
    if holder is None or holder.user == deed.user.id:
        return None
    if holder.released_ms is None:
        return "another user of this endpoint has it; choose another"
    left_s = (holder.released_ms + deed.terms.rest_ms - deed.now_ms) // 1000 + 1
    return f"another user had it until lately; choose another, or wait {left_s} s"
