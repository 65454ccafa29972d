"""The tree of managers: who may stand where, with which limits (rows H4, H12).

What always holds, for every limit: no number is above a number of anybody further up. A limit of null is
bounded by those above, so it is allowed everywhere. No manager is above himself.
"""

import operator
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from collector.domain.managers import Manager
from shared.names import ManagerId

#: Managers named in one sentence at most.
_NAMED = 5


class Place(NamedTuple):
    """A manager with his depth below where the walk began."""

    manager: Manager
    depth: int


def wrong(manager: Manager, above: Iterable[Manager], below: Collection[Manager]) -> dict[str, str]:
    """What is wrong with a manager between these, by field: he may be new, changed or moved.

    Managers above are not named, since whoever asks may not know them; those below are his own.
    """
    tightest = _tightest(above)
    found: dict[str, str] = {}
    for field, limit in manager.bounds.items():
        bound = tightest.get(field)
        if limit is not None and bound is not None and limit > bound:
            found[field] = f"a manager above has {bound}: use at most {bound}, or null for what he leaves"
        elif over := _over(field, bound if limit is None else limit, below):
            figure = bound if limit is None else limit
            # Without a number of his own, what is too tight is the place.
            found[field if limit is not None else "parent"] = (
                f"managers below have a higher {field} than {figure}: lower theirs first ({over})"
            )
    return found


def circular(manager: ManagerId, above: Iterable[Manager]) -> bool:
    """Whether a manager would stand above himself."""
    return any(one.id == manager for one in above)


def walked(managers: Collection[Manager]) -> Iterator[Place]:
    """Every manager after whoever is above him, siblings by id; who has nobody above among them is on top."""
    children: dict[ManagerId | None, list[Manager]] = {}
    among = {one.id for one in managers}
    for one in sorted(managers, key=lambda one: one.id, reverse=True):
        children.setdefault(one.parent if one.parent in among else None, []).append(one)
    # Not by recursion: a tree may be deeper than Python's stack.
    waiting = [Place(one, 0) for one in children.get(None, [])]
    while waiting:
        place = waiting.pop()
        yield place
        waiting += [Place(one, place.depth + 1) for one in children.get(place.manager.id, [])]


def summed(
    walked: Sequence[Place], direct: Mapping[ManagerId, tuple[int, ...]]
) -> dict[ManagerId, tuple[int, ...]]:
    """What everybody has at and below him of what is directly below some; nothing where he has none."""
    found = dict(direct)
    for manager, _ in reversed(walked):
        own = found.get(manager.id)
        if own is not None and manager.parent is not None:
            above = found.get(manager.parent, (0,) * len(own))
            found[manager.parent] = tuple(map(operator.add, above, own))
    return found


def _tightest(above: Iterable[Manager]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for one in above:
        for field, limit in one.bounds.items():
            if limit is not None:
                found[field] = min(limit, found.get(field, limit))
    return found


def _over(field: str, bound: int | None, below: Iterable[Manager]) -> str:
    if bound is None:
        return ""
    over = [one for one in below if (one.bounds[field] or 0) > bound]
    named = [f"{one.id} {one.name}: {one.bounds[field]}" for one in over[:_NAMED]]
    return ", ".join([*named, *(["and others"] if len(over) > _NAMED else [])])
