"""What managers' limits do to those below them: looked at, told, and carried out in batches (row H12).

What always holds: a look changes nothing; carrying out again changes nobody; a user is touched only where he
is served or stopped against what holds now, and an admin's switch is never.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collector.app import configs
from collector.app import users as people
from collector.domain import metering, standing, trees
from collector.domain import phases as rules
from collector.domain.access import SYSTEM, Actor
from collector.domain.changes import Change
from collector.domain.events import Event, Kind, Subject, Thing
from collector.domain.managers import Manager
from collector.domain.payloads import Data
from collector.domain.phases import CALM, Counts, Held, Hold, Seen, Watch
from collector.store import events, headcounts, managers, users
from collector.store.headcounts import Census
from collector.store.session import Session
from shared.names import ManagerId, UserId

#: Billed bytes of users directly below managers, up and down.
Sums = Mapping[ManagerId, tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look has found: what to remember, whom managers hold, and what is to be told of it."""

    watches: Mapping[ManagerId, Watch]
    held: Mapping[ManagerId, Held]
    events: list[Event]


def charge(session: Session, sums: Sums, now_ms: int, *, at_ms: int | None = None) -> bool:
    """Roll billed bytes up and tell what came of it; returns whether users must be stopped or may go on.

    They were used at `at_ms`, or now.
    """
    turns = managers.roll_up(session, sums, now_ms if at_ms is None else at_ms)
    tell(session, turns, SYSTEM, now_ms)
    return any(turn.before.standing != turn.after.standing for turn in turns)


def charge_by_time(session: Session, billed: Mapping[int, Sums], now_ms: int) -> bool:
    """The same of bytes by the quarter of an hour in which they were used: they count in its periods."""
    moments = [(metering.used_ms(quarter, now_ms), sums) for quarter, sums in sorted(billed.items())]
    late = {manager: (0, 0) for at_ms, sums in moments if at_ms < now_ms for manager in sums}
    stopping = [charge(session, sums, now_ms, at_ms=at_ms) for at_ms, sums in moments]
    # A period that has ended since ends with them.
    return any(stopping) | (bool(late) and charge(session, late, now_ms))


def look(
    session: Session, before: Mapping[ManagerId, Watch], live: Mapping[UserId, int], now_ms: int
) -> Look:
    """Judge every manager by what there is now; `live` are the sessions of users who are online."""
    walked = [place.manager for place in trees.walked(managers.every(session))]
    counted = headcounts.below(session, (one.id for one in walked if one.max_active is not None))
    on = online(session, live)
    watches: dict[ManagerId, Watch] = {}
    told: list[Event] = []
    for one in walked:
        counts, was = seen(one, counted, on).counts, before.get(one.id, CALM)
        watches[one.id] = rules.watched(one, counts, was, now_ms)
        told += [
            _event(one, *what, SYSTEM, now_ms) for what in rules.looked(one, counts, was, watches[one.id])
        ]
    held = rules.combined(walked, {number: watch.verdict for number, watch in watches.items()})
    return Look(watches=watches, held=held, events=told)


def record(session: Session, told: list[Event]) -> None:
    """Keep the events of a look."""
    events.append_all(session, told)


def enforce(
    session: Session,
    held: Mapping[ManagerId, Held],
    live: Mapping[UserId, int],
    limit: int,
    now_ms: int,
) -> Change[int]:
    """Stop, or let go on, up to `limit` users who are not as those above them ask; returns how many."""
    found = _misplaced(session, held, live, limit)
    before = users.among(session, found)
    # Nobody is judged by a period that is over.
    present = [standing.advanced(user, now_ms) for user in before.values()]
    after = [standing.held(user, now_ms, stopped=found[user.id]) for user in present]
    users.save_stopped(session, after)
    steps = list(zip(before.values(), present, strict=True))
    return Change(len(after), people.settle(session, before, after, steps, SYSTEM, now_ms))


def pool(session: Session, limit: int, now_ms: int) -> Change[int]:
    """Put up to `limit` users under leases, or take them out, as those above them have limits of bytes.

    Returns how many were not as they should be.
    """
    del now_ms
    every = managers.every(session)
    chains = managers.chains(session, (one.id for one in every))
    pooling = {leaf for leaf, line in chains.items() if any(one.pools for one in line)}
    found = users.among(session, users.misplaced_pools(session, pooling, limit)).values()
    after = [standing.shared(user, pooled=user.manager in pooling) for user in found]
    users.pool(session, after)
    return Change(len(after), configs.refresh(session, after))


def online(session: Session, live: Mapping[UserId, int]) -> dict[ManagerId, tuple[int, ...]]:
    """Sessions and users online below each manager."""
    direct: dict[ManagerId, tuple[int, ...]] = {}
    for user, manager in headcounts.managers_of(session, live).items() if live else ():
        sessions, count = direct.get(manager, (0, 0))
        direct[manager] = (sessions + live[user], count + 1)
    return trees.summed(list(trees.walked(managers.every(session))), direct) if direct else {}


def seen(
    manager: Manager, counted: Mapping[ManagerId, Census], on: Mapping[ManagerId, tuple[int, ...]]
) -> Seen:
    """A manager with his counts."""
    census, (sessions, count) = counted.get(manager.id, Census()), on.get(manager.id, (0, 0))
    counts = Counts(sessions=sessions, online=count, active=census.active)
    return Seen(manager=manager, own_users=census.own, users=census.below, counts=counts)


def tell(session: Session, turns: Iterable[managers.Turn], actor: Actor, now_ms: int) -> None:
    """Record what became of managers through bytes, time or somebody's change."""
    told = [
        _event(after, *what, actor, now_ms) for before, after in turns for what in rules.turned(before, after)
    ]
    events.append_all(session, told)


def note(session: Session, manager: Manager, kind: Kind, data: Data, actor: Actor, now_ms: int) -> None:
    """Record what somebody did with a manager."""
    events.append(session, _event(manager, kind, data, actor, now_ms))


def at_depth(one: Seen, depth: int) -> Seen:
    """The same manager, seen from so far above."""
    return dataclasses.replace(one, depth=depth)


def _event(manager: Manager, kind: Kind, data: Data, actor: Actor, now_ms: int) -> Event:
    subject = Subject(Thing.MANAGER, manager.id)
    return Event(at_ms=now_ms, actor=actor, kind=kind, subject=subject, data=data)


def _misplaced(
    session: Session, held: Mapping[ManagerId, Held], live: Mapping[UserId, int], limit: int
) -> dict[UserId, bool]:
    """Users who are not as they should be, with whether they should be stopped."""
    everybody = [number for number, one in held.items() if one.hold & Hold.EVERYBODY]
    nobody = [number for number, one in held.items() if one.hold is Hold.NOBODY]
    found = dict.fromkeys(headcounts.standing(session, everybody, stopped=False, limit=limit), True)
    found |= dict.fromkeys(headcounts.standing(session, nobody, stopped=True, limit=limit), False)
    partly = [number for number, one in held.items() if number not in {*everybody, *nobody}]
    lives = headcounts.managers_of(session, live) if partly and live else {}
    for number in partly:
        if len(found) >= limit:
            break
        mine = [user for user, manager in lives.items() if manager == number]
        found |= _partly(session, number, held[number], mine, limit)
    return dict(list(found.items())[:limit])


def _partly(
    session: Session, manager: ManagerId, held: Held, mine: list[UserId], limit: int
) -> dict[UserId, bool]:
    found: dict[UserId, bool] = {}
    if held.hold & Hold.OFFLINE:
        found |= dict.fromkeys(headcounts.offline(session, manager, mine, limit), True)
    if held.hold & Hold.UNUSED:
        found |= dict.fromkeys(headcounts.unused(session, manager, held.since_ms, limit), True)
    if held.hold is Hold.UNUSED:
        found |= dict.fromkeys(headcounts.used(session, manager, held.since_ms, limit), False)
    return found
