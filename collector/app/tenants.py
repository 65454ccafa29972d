"""Who may see and touch which managers and users (rows H4, H12).

What always holds: an admin may all; a manager sees himself and what is below him, and changes only what is
below him. Of everything else he is told that it does not exist.
"""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import structs

from collector.domain import leases as lending
from collector.domain import pools, refusals
from collector.domain.access import Actor
from collector.domain.leases import Bytes, Holding
from collector.domain.managers import Manager
from collector.domain.users import User
from collector.store import headcounts, leases, managers, users
from collector.store.session import Session
from shared.names import ManagerId, UserId


class Joined(NamedTuple):
    """Where somebody new will be: his manager, and whether somebody above may have nobody served now.

    `pooled` tells whether somebody above has a limit of bytes.
    """

    manager: ManagerId | None
    stopped: bool
    pooled: bool


def scope(session: Session, actor: Actor) -> frozenset[ManagerId] | None:
    """The managers whose users the caller may see; None is no bound."""
    if actor.manager is None:
        return None
    return frozenset(one.id for one in managers.below(session, actor.manager))


def require_manager(session: Session, actor: Actor, manager: ManagerId) -> Manager:
    """A manager whom the caller may see. Raises Refused."""
    found = managers.one(session, manager)
    if found is None or not _reaches(session, actor, manager):
        raise refusals.not_found("manager", manager)
    return found


def require_below(session: Session, actor: Actor, manager: ManagerId) -> Manager:
    """A manager whom the caller may change: nobody changes himself. Raises Refused."""
    found = require_manager(session, actor, manager)
    if manager == actor.manager:
        detail = "only an admin, or a manager above you, may change you"
        raise refusals.Refused(refusals.Kind.FORBIDDEN, detail)
    return found


def require_user(session: Session, actor: Actor, user: UserId) -> User:
    """A user whom the caller may see and change. Raises Refused."""
    found = users.one(session, user)
    if found is None or not _reaches(session, actor, found.manager):
        raise refusals.not_found("user", user)
    return found


def require_ever(session: Session, actor: Actor, user: UserId) -> User:
    """A user whom the caller may see, or might have seen before he was removed. Raises Refused."""
    found = users.among(session, [user]).get(user)
    if found is None or not _reaches(session, actor, found.manager):
        raise refusals.not_found("user", user)
    return found


def above(session: Session, manager: ManagerId | None) -> tuple[Manager, ...]:
    """A manager and everybody above him."""
    return () if manager is None else managers.chains(session, [manager])[manager]


def placed(
    session: Session, actor: Actor, wanted: ManagerId | None, field: str, *, own: bool = False
) -> tuple[Manager, ...]:
    """The line that begins with the manager whom the caller names in a field; Refused where he may not.

    `own` puts what a manager makes below himself where he names nobody.
    """
    if wanted is None and actor.manager is not None:
        if not own:
            raise refusals.invalid({field: "name yourself or a manager below you"})
        wanted = actor.manager
    if wanted is not None and (managers.one(session, wanted) is None or not _reaches(session, actor, wanted)):
        raise refusals.invalid({field: f"there is no manager {wanted}"})
    return above(session, wanted)


def joined(session: Session, actor: Actor, wanted: ManagerId | None, *, own: bool = False) -> Joined:
    """Where a user would be below this manager. Refused where no more users may become active there."""
    line = placed(session, actor, wanted, "manager", own=own)
    require_room(session, line, "manager")
    stopped, pooled = any(not one.served for one in line), any(one.pools for one in line)
    return Joined(line[0].id if line else None, stopped, pooled)


def require_room(session: Session, line: Iterable[Manager], field: str) -> None:
    """Refuse where somebody of a line has all the active users of a period that he may have."""
    bounds = {one.id: one.max_active for one in line if one.max_active is not None}
    counted = headcounts.below(session, bounds) if bounds else {}
    for number, bound in bounds.items():
        active = counted.get(number, headcounts.Census()).active
        if active >= bound:
            problem = f"{active} users are active there in this period and {bound} may be: choose another one"
            raise refusals.conflict("no more users may become active below this manager", {field: problem})


def rehold(session: Session, user: UserId, before: ManagerId | None, after: ManagerId | None) -> None:
    """What nodes may still serve of a user counts against his new managers from now on."""
    holdings = leases.holdings(session, [user], active_since_ms=0).get(user, {})
    # One after the other: a manager above both is given back first.
    for manager, sign in ((before, -1), (after, 1)):
        if sign > 0:
            holdings = {ledger: _held(one, manager) for ledger, one in holdings.items()}
        delta = Bytes(
            *(sign * sum(column) for column in zip(*(one.held for one in holdings.values()), strict=True))
        )
        if manager is not None and any(delta):
            managers.reserve(session, {manager: delta})
    for ledger, one in holdings.items():
        leases.save(session, ledger, {user: one})


def _held(holding: Holding, manager: ManagerId | None) -> Holding:
    held = pools.holding(lending.rests(holding)) if manager is not None else Bytes()
    return structs.replace(holding, held=held)


def _reaches(session: Session, actor: Actor, manager: ManagerId | None) -> bool:
    return actor.manager is None or any(one.id == actor.manager for one in above(session, manager))
