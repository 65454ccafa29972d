"""The events of a user: what is said of him, given what he was and what became of him (rows H8, T7, H13).

What always holds: with these events and his hourly usage, `replay` arrives at what is stored of him.
"""

from collections.abc import Iterable

from collector.domain import events, payloads
from collector.domain.access import Actor
from collector.domain.events import Event, Kind, Subject, Thing
from collector.domain.payloads import Data
from collector.domain.users import Status, User
from collector.domain.wireguard import Peer
from shared.names import UserId


def subject(user: UserId) -> Subject:
    """The user as the subject of an event."""
    return Subject(Thing.USER, user)


def created(user: User, endpoints: Iterable[int], actor: Actor, now_ms: int) -> list[Event]:
    """He was made; his package may have begun already."""
    facts = payloads.of_user(user)
    made = payloads.UserCreated(**facts, endpoints=sorted(set(endpoints)))
    found = [_event(user, Kind.USER_CREATED, made, actor, now_ms)]
    if _has_begun(user, now_ms):
        found.append(_event(user, Kind.PACKAGE_STARTED, _course(user), actor, now_ms))
    return found


def changed(before: User, after: User, actor: Actor, now_ms: int) -> list[Event]:
    """Somebody changed him; his package may have begun by it."""
    differing = events.changes(payloads.of_user(before), payloads.of_user(after))
    data = payloads.Changed(name=after.name, changes=differing)
    told = [_event(after, Kind.USER_CHANGED, data, actor, now_ms)]
    if _has_begun(after, now_ms) and not _has_begun(before, now_ms):
        told.append(_event(after, Kind.PACKAGE_STARTED, _course(after), actor, now_ms))
    return told


def assigned(
    user: User, before: Iterable[int], after: Iterable[int], actor: Actor, now_ms: int
) -> list[Event]:
    """Somebody put him on these endpoints."""
    pair = payloads.Pair(sorted(set(before)), sorted(set(after)))
    data = payloads.Changed(name=user.name, changes={"endpoints": pair})
    return [_event(user, Kind.USER_ASSIGNED, data, actor, now_ms)]


def handed_over(user: UserId, name: str, before: int, after: int, actor: Actor, now_ms: int) -> list[Event]:
    """His manager was removed, and he went to another one."""
    data = payloads.Changed(name=name, changes={"manager": payloads.Pair(before, after)})
    kind = Kind.USER_CHANGED
    return [Event(at_ms=now_ms, actor=actor, kind=kind, subject=subject(user), data=data)]


def removed(user: User, actor: Actor, now_ms: int) -> list[Event]:
    """He was taken away."""
    return [_event(user, Kind.USER_REMOVED, payloads.Named(name=user.name), actor, now_ms)]


def peer_created(user: User, peer: Peer, actor: Actor, now_ms: int) -> list[Event]:
    """He was put on a WireGuard endpoint."""
    return [_event(user, Kind.PEER_CREATED, _peer(user, peer), actor, now_ms)]


def peer_changed(user: User, before: Peer, after: Peer, actor: Actor, now_ms: int) -> list[Event]:
    """His keys or addresses on one are others; nothing where they are not."""
    pairs = {
        "public_key": payloads.Pair(before.keys.public, after.keys.public),
        "tunnel": payloads.Pair(list(before.texts), list(after.texts)),
        "fixed": payloads.Pair(list(before.fixed), list(after.fixed)),
    }
    differing = {what: pair for what, pair in pairs.items() if pair.before != pair.after}
    renewed = before.keys.preshared != after.keys.preshared
    if not differing and not renewed:
        return []
    data = payloads.PeerChanged(
        name=user.name, endpoint=after.endpoint, changes=differing, preshared_key_renewed=renewed
    )
    return [_event(user, Kind.PEER_CHANGED, data, actor, now_ms)]


def peer_removed(user: User, peer: Peer, actor: Actor, now_ms: int) -> list[Event]:
    """He was taken off one."""
    return [_event(user, Kind.PEER_REMOVED, _peer(user, peer), actor, now_ms)]


def passed(before: User, after: User, actor: Actor, now_ms: int) -> list[Event]:
    """What time and bytes did to him, his status aside.

    A period in which nothing was used ends without an event: it follows from his schedule.
    """
    if after is before:
        return []
    told: list[tuple[Kind, Data]] = []
    if after.period_start_ms != before.period_start_ms and before.total_bytes:
        told.append((Kind.USER_RESET, _reset(before, after)))
    elif _base(after) != _base(before):
        told.append((Kind.USAGE_LATE, _late(before, after)))
    first = before.first_used_ms is None and after.first_used_ms is not None
    if _package_began(before, after, first=first):
        told.append((Kind.PACKAGE_STARTED, _course(after)))
    elif first:
        told.append((Kind.USER_FIRST_USED, _course(after)))
    return [_event(after, kind, data, actor, now_ms) for kind, data in told]


def judged(user: User, actor: Actor, now_ms: int) -> list[Event]:
    """He has a new status."""
    data = payloads.Judged(
        name=user.name,
        status=user.status,
        reason=user.reason,
        total_bytes=user.total_bytes,
        up_bytes=user.up_bytes,
        down_bytes=user.down_bytes,
        quota_bytes=user.quota_bytes,
        up_limit_bytes=user.up_limit_bytes,
        down_limit_bytes=user.down_limit_bytes,
    )
    told = [_event(user, Kind[f"USER_{user.status.name}"], data, actor, now_ms)]
    if user.status is Status.EXPIRED:
        told.insert(0, _event(user, Kind.PACKAGE_EXPIRED, _course(user), actor, now_ms))
    return told


def snapshot(user: User, actor: Actor, now_ms: int, *, is_removed: bool) -> list[Event]:
    """He as he is."""
    base_up, base_down = _base(user)
    data = payloads.UserSnapshot(
        **payloads.of_user(user),
        removed=is_removed,
        up_bytes=user.up_bytes,
        down_bytes=user.down_bytes,
        life_up_bytes=user.life_up_bytes,
        life_down_bytes=user.life_down_bytes,
        base_up_bytes=base_up,
        base_down_bytes=base_down,
    )
    return [_event(user, Kind.USER_SNAPSHOT, data, actor, now_ms)]


def _package_began(before: User, after: User, *, first: bool) -> bool:
    """Whether his package began between the two: with his first use, or at its fixed start.

    A fixed start is ahead of whoever has a due moment that is not behind it.
    """
    start_at_ms = after.validity.start_at_ms
    if start_at_ms is None:
        return first
    return _is_due(before, start_at_ms) and not _is_due(after, start_at_ms)


def _is_due(user: User, moment_ms: int) -> bool:
    return user.due_ms is not None and user.due_ms <= moment_ms


def _has_begun(user: User, now_ms: int) -> bool:
    return user.started_ms is not None and user.started_ms <= now_ms


def _base(user: User) -> tuple[int, int]:
    return user.life_up_bytes - user.up_bytes, user.life_down_bytes - user.down_bytes


def _reset(before: User, after: User) -> payloads.Reset:
    base_up, base_down = _base(after)
    return payloads.Reset(
        name=after.name,
        up_bytes=before.up_bytes,
        down_bytes=before.down_bytes,
        base_up_bytes=base_up,
        base_down_bytes=base_down,
        period_start_ms=before.period_start_ms,
        next_start_ms=after.period_start_ms,
    )


def _late(before: User, after: User) -> payloads.Late:
    (old_up, old_down), (base_up, base_down) = _base(before), _base(after)
    return payloads.Late(
        name=after.name,
        up_bytes=base_up - old_up,
        down_bytes=base_down - old_down,
        base_up_bytes=base_up,
        base_down_bytes=base_down,
    )


def _peer(user: User, peer: Peer) -> payloads.PeerFacts:
    return payloads.PeerFacts(
        name=user.name,
        endpoint=peer.endpoint,
        public_key=peer.keys.public,
        tunnel=list(peer.texts),
        fixed=list(peer.fixed),
    )


def _course(user: User) -> payloads.Course:
    return payloads.Course(
        name=user.name,
        started_ms=user.started_ms,
        first_used_ms=user.first_used_ms,
        expires_ms=user.expires_ms,
    )


def _event(user: User, kind: Kind, data: Data, actor: Actor, now_ms: int) -> Event:
    return Event(at_ms=now_ms, actor=actor, kind=kind, subject=subject(user.id), data=data)
