"""Trees of managers after any edits: no limit above an ancestor's, nobody above himself."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from collector.domain import managers, trees
from collector.domain.managers import COUNTS, QUOTAS, Manager, NewManager
from shared.names import ManagerId

NOW_MS = 1_800_000_000_000
FIELDS = (*QUOTAS, *COUNTS)

_LIMITS = st.dictionaries(st.sampled_from(FIELDS), st.none() | st.integers(0, 20))
#: Which manager (0: a new one), whom he shall be below (0: nobody), and his limits.
_EDITS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), _LIMITS), max_size=40)

Tree = dict[ManagerId, Manager]


def made(number: int, parent: int | None = None, **limits: Any) -> Manager:  # noqa: ANN401 - as NewManager has them
    new = NewManager(name=f"m-{number}", parent=None if parent is None else ManagerId(parent), **limits)
    return structs.replace(managers.fresh(new, NOW_MS), id=ManagerId(number))


def above(tree: Tree, parent: ManagerId | None) -> Iterator[Manager]:
    while parent is not None:
        yield tree[parent]
        parent = tree[parent].parent


def below(tree: Tree, manager: ManagerId) -> list[Manager]:
    return [one for one in tree.values() if manager in {up.id for up in above(tree, one.parent)}]


def _edited(tree: Tree, number: int, parent: int, limits: dict[str, int | None]) -> Tree:
    """The tree after an edit, or the same one where the edit is refused."""
    place = ManagerId(parent) if ManagerId(parent) in tree else None
    old = tree.get(ManagerId(number)) or made(len(tree) + 1)
    after = structs.replace(old, parent=place, **limits)
    ups = list(above(tree, place))
    if trees.circular(after.id, ups) or trees.wrong(after, ups, below(tree, after.id)):
        return tree
    return {**tree, after.id: after}


@given(_EDITS)
def test_no_limit_is_ever_above_one_further_up_whatever_is_edited(
    edits: list[tuple[int, int, dict[str, int | None]]],
) -> None:
    tree: Tree = {}
    for edit in edits:
        tree = _edited(tree, *edit)
        for one in tree.values():
            for up in above(tree, one.parent):
                assert up.id != one.id
                for field in FIELDS:
                    mine, his = one.bounds[field], up.bounds[field]
                    assert mine is None or his is None or mine <= his


@given(_EDITS, st.integers(1, 12), st.sampled_from(FIELDS), st.none() | st.integers(0, 20))
def test_an_edit_is_refused_exactly_when_it_would_put_a_limit_above_another(
    edits: list[tuple[int, int, dict[str, int | None]]], number: int, field: str, limit: int | None
) -> None:
    tree: Tree = {}
    for edit in edits:
        tree = _edited(tree, *edit)
    before = tree.get(ManagerId(number))
    if before is None:
        return
    after = structs.replace(before, **{field: limit})
    ups, downs = list(above(tree, before.parent)), below(tree, before.id)
    tight = [up.bounds[field] for up in ups if up.bounds[field] is not None]
    higher = [down for down in downs if (down.bounds[field] or 0) > (21 if limit is None else limit)]
    breaks = limit is not None and (any(limit > (one or 0) for one in tight) or bool(higher))
    assert bool(trees.wrong(after, ups, downs)) == breaks


@given(_EDITS)
def test_a_walk_meets_everybody_once_and_nobody_before_whoever_is_above_him(
    edits: list[tuple[int, int, dict[str, int | None]]],
) -> None:
    tree: Tree = {}
    for edit in edits:
        tree = _edited(tree, *edit)
    met: dict[ManagerId, int] = {}
    for manager, depth in trees.walked(list(tree.values())):
        assert manager.id not in met
        assert depth == (0 if manager.parent is None else met[manager.parent] + 1)
        met[manager.id] = depth
    assert met.keys() == tree.keys()


def test_the_figure_above_and_the_names_below_are_told() -> None:
    top, middle = made(1, max_online=100), made(2, 1)
    wrong = trees.wrong(made(3, 2, max_online=101), [middle, top], [])
    assert list(wrong) == ["max_online"]
    assert "at most 100" in wrong["max_online"]
    lowered = trees.wrong(made(1, max_online=50), [], [middle, made(3, 2, max_online=60)])
    assert list(lowered) == ["max_online"]
    assert "3 m-3: 60" in lowered["max_online"]


def test_a_manager_without_a_limit_of_his_own_cannot_bring_a_higher_one_below_a_lower() -> None:
    wrong = trees.wrong(made(2, 1), [made(1, quota_bytes=10)], [made(3, 2, quota_bytes=11)])
    assert list(wrong) == ["parent"]
    assert "3 m-3: 11" in wrong["parent"]


def test_a_line_of_a_thousand_managers_is_walked() -> None:
    line = [made(1), *(made(number, number - 1) for number in range(2, 1_001))]
    assert [place.depth for place in trees.walked(line)] == list(range(1_000))
