"""Managers: made, changed, moved, removed and looked at (rows H4, H12).

What always holds: whatever is done, no limit is above one further up, nobody is above himself, and who asks
touches only what is below him. What a change stops or lets go on is done after it, in small transactions.
"""

from collections.abc import Iterable, Mapping

from msgspec import UNSET, structs

from collector.app import phases, tenants
from collector.domain import course, refusals, trees, validity
from collector.domain import managers as rules
from collector.domain.access import Actor
from collector.domain.changes import Change
from collector.domain.events import Kind
from collector.domain.leases import Bytes
from collector.domain.managers import Manager, ManagerChanges, NewManager
from collector.domain.payloads import Changed, ManagerFacts, ManagerRemoved, Pair
from collector.domain.phases import Seen
from collector.store import admins, events, headcounts, logins, managers, users
from collector.store.session import Session
from shared.names import ManagerId, UserId

Live = Mapping[UserId, int]
Credentials = logins.Credentials


def create(session: Session, new: NewManager, actor: Actor, now_ms: int) -> Change[Manager]:
    """Make a manager on top or below another one. Refused where his limits are above any further up."""
    if fields := rules.wrong(new, validity.asked(new)):
        raise refusals.invalid(fields)
    line = tenants.placed(session, actor, new.parent, "parent", own=True)
    _require_free(session, new.name)
    fresh = rules.fresh(structs.replace(new, parent=line[0].id if line else None), now_ms)
    _require_fit(fresh, line, [])
    manager = managers.insert(session, fresh)
    facts = ManagerFacts(name=manager.name, parent=manager.parent, limits=manager.bounds)
    phases.note(session, manager, Kind.MANAGER_CREATED, facts, actor, now_ms)
    return Change(manager)


def change(
    session: Session, manager: ManagerId, changes: ManagerChanges, actor: Actor, now_ms: int
) -> Change[Manager]:
    """Change a manager or put him below another one; bytes stay with those under whom they were used."""
    before = tenants.require_below(session, actor, manager)
    if fields := rules.wrong(changes, validity.changed(before.validity, changes)):
        raise refusals.invalid(fields)
    current = rules.advanced(before, now_ms)
    managers.begin_periods(session, [current])
    after = rules.changed(current, changes, now_ms)
    if after.name != before.name:
        _require_free(session, after.name, but=manager)
    if changes.parent is UNSET or changes.parent == before.parent:
        line = tenants.above(session, before.parent)
    else:
        line = tenants.placed(session, actor, changes.parent, "parent")
        _rehold(session, before, line)
    _require_fit(after, line, _below(session, manager))
    managers.save(session, after)
    # Leases below were given with regard to other limits.
    if (after.overdrawn and not before.overdrawn) or _shares_anew(before, after, line):
        users.unpool(session, [one.id for one in managers.below(session, manager)])
    _note_changes(session, before, after, actor, now_ms)
    phases.tell(session, [managers.Turn(before, after)], actor, now_ms)
    return Change(after, managers=True)


def move(
    session: Session, manager: ManagerId, parent: ManagerId | None, actor: Actor, now_ms: int
) -> Change[Manager]:
    """Put a manager, with everybody below him, below another one or on top."""
    return change(session, manager, ManagerChanges(parent=parent), actor, now_ms)


def remove(
    session: Session, manager: ManagerId, move_to: ManagerId | None, actor: Actor, now_ms: int
) -> Change[None]:
    """Take a manager away who has nobody below him, or whose managers and users go to another one."""
    found = tenants.require_below(session, actor, manager)
    children, people = headcounts.any_below(session, manager)
    if move_to is not None:
        _hand_over(session, found, move_to, people, actor, now_ms)
    elif children or people:
        detail = f"he has {children} managers and {people} users: remove them, or name another one in move_to"
        raise refusals.conflict(detail)
    managers.remove(session, manager, now_ms)
    data = ManagerRemoved(name=found.name, move_to=move_to, managers=children, users=people)
    phases.note(session, found, Kind.MANAGER_REMOVED, data, actor, now_ms)
    return Change(None, managers=True)


def one(session: Session, manager: ManagerId, live: Live, actor: Actor) -> Seen:
    """A manager with what there is below him now."""
    found = tenants.require_manager(session, actor, manager)
    return _seen(session, [found], live)[0]


def page(session: Session, after: ManagerId, limit: int, live: Live, actor: Actor) -> list[Seen]:
    """Managers in the order of their ids, those after the given one: all whom the caller may see."""
    every = managers.every(session) if actor.manager is None else managers.below(session, actor.manager)
    return _seen(session, [manager for manager in every if manager.id > after][:limit], live)


def tree(session: Session, top: ManagerId | None, live: Live, actor: Actor) -> list[Seen]:
    """Every manager at and below one, or whom the caller may see at all, each after whoever is above him."""
    if top is not None:
        tenants.require_manager(session, actor, top)
    top = actor.manager if top is None else top
    found = managers.every(session) if top is None else managers.below(session, top)
    depths = {place.manager.id: place.depth for place in trees.walked(found)}
    seen = {one.manager.id: one for one in _seen(session, found, live)}
    return [phases.at_depth(seen[number], depth) for number, depth in depths.items()]


def credentials(session: Session, name: str) -> Credentials | None:
    """What the password of this manager is checked against."""
    found = logins.credentials(session, name)
    return found if found and standing(session, found.id) is not None else None


def standing(session: Session, manager: ManagerId) -> int | None:
    """The credential number that a manager's tokens must carry; None where he may not call.

    Nobody may who is switched off, or below somebody who is.
    """
    credential = logins.standing(session, manager)
    if credential is None or any(one.switched_off for one in tenants.above(session, manager)):
        return None
    return credential


def set_password(
    session: Session, manager: ManagerId, password_hash: str | None, actor: Actor, now_ms: int
) -> Change[Manager]:
    """Give a manager a new password, or take his login away; his tokens are void.

    A manager may give himself a new one.
    """
    own = manager == actor.manager and password_hash is not None
    require = tenants.require_manager if own else tenants.require_below
    found = require(session, actor, manager)
    logins.save_password(session, manager, password_hash)
    login = Pair(before="voided", after="none" if password_hash is None else "given")
    data = Changed(name=found.name, changes={"login": login})
    phases.note(session, found, Kind.MANAGER_CHANGED, data, actor, now_ms)
    return Change(found)


def _hand_over(
    session: Session, manager: Manager, move_to: ManagerId, people: int, actor: Actor, now_ms: int
) -> None:
    line = tenants.placed(session, actor, move_to, "move_to")
    if trees.circular(manager.id, line):
        raise refusals.invalid({"move_to": "name somebody who is not below the manager that is removed"})
    if people:
        tenants.require_room(session, line, "move_to")
    if any(one.pools for one in line):
        users.unpool(session, [one.id for one in managers.below(session, manager.id)])
    for child in _below(session, manager.id):
        if child.parent == manager.id:
            moved = structs.replace(child, parent=move_to)
            _require_fit(moved, line, _below(session, child.id))
            managers.save(session, moved)
            _note_changes(session, child, moved, actor, now_ms)
    for user, name in users.hand_over(session, manager.id, move_to):
        events.append_all(session, course.handed_over(user, name, manager.id, move_to, actor, now_ms))
    managers.reserve(session, {manager.id: _negative(manager.held)})
    managers.reserve(session, {move_to: manager.held})


def _shares_anew(before: Manager, after: Manager, line: Iterable[Manager]) -> bool:
    return after.parent != before.parent and any(one.pools for one in line)


def _rehold(session: Session, manager: Manager, line: tuple[Manager, ...]) -> None:
    if manager.parent is not None:
        managers.reserve(session, {manager.parent: _negative(manager.held)})
    if line:
        managers.reserve(session, {line[0].id: manager.held})


def _negative(figures: Bytes) -> Bytes:
    return Bytes(*(-figure for figure in figures))


def _below(session: Session, manager: ManagerId) -> list[Manager]:
    return [one for one in managers.below(session, manager) if one.id != manager]


def _seen(session: Session, found: list[Manager], live: Live) -> list[Seen]:
    counted = headcounts.below(session, (manager.id for manager in found))
    online = phases.online(session, live)
    return [phases.seen(manager, counted, online) for manager in found]


def _require_fit(manager: Manager, line: Iterable[Manager], below: list[Manager]) -> None:
    above = list(line)
    if trees.circular(manager.id, above):
        raise refusals.invalid({"parent": "name somebody who is not below him"})
    if fields := trees.wrong(manager, above, below):
        raise refusals.invalid(fields)


def _require_free(session: Session, name: str, but: ManagerId | None = None) -> None:
    # Admins and managers log in with their names by one door.
    if managers.holder(session, name, but) is not None or admins.credentials(session, name) is not None:
        raise refusals.conflict(f"the name {name} is taken", {"name": "choose another name"})


def _note_changes(session: Session, before: Manager, after: Manager, actor: Actor, now_ms: int) -> None:
    data = Changed(name=after.name, changes=rules.differences(before, after))
    phases.note(session, after, Kind.MANAGER_CHANGED, data, actor, now_ms)
