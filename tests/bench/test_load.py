"""The load that `make bench` measures with is what it says it is, and its account can be off."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from collector.store import tables
from collector.store.database import Database
from collector.store.session import Session
from shared.names import NodeId, UserId
from tests.bench.asked import Asked
from tests.bench.load import offering, runs, seeding
from tests.bench.load import shape as shapes
from tests.bench.load.collector import HOUR_MS
from tests.bench.load.orders import Order
from tests.bench.load.shape import Shape
from tests.kit.stores import SqliteStore

_NOW_MS = 1_800_000_000_000
_SHAPE = Shape(users=40, nodes=8, rows=10)


@pytest.mark.parametrize("mix", get_args(shapes.Mix))
def test_a_fleet_that_was_copied_is_one_that_the_api_has_made(tmp_path: Path, mix: shapes.Mix) -> None:
    copied, made = tmp_path / "copied", tmp_path / "made"
    for directory in (copied, made):
        directory.mkdir()
    shape = replace(_SHAPE, mix=mix)
    seeding.fill(SqliteStore(copied), shape, _NOW_MS)
    seeding.fill(SqliteStore(made), shape, _NOW_MS, copying=False)
    assert _content(copied) == _content(made)


def test_what_a_node_reports_is_what_its_users_are_expected_to_pay() -> None:
    rounds = {NodeId(node): node % 3 for node in range(1, _SHAPE.nodes + 1)}
    paid = {user: [0, 0] for user in range(1, _SHAPE.users + 1)}
    for node, reached in rounds.items():
        for user, endpoint, up, down in shapes.rows(_SHAPE, node, reached):
            assert endpoint == shapes.endpoint(node)
            paid[user][0] += up
            paid[user][1] += down
    for user, (up, down) in paid.items():
        assert shapes.expected(_SHAPE, UserId(user), rounds) == (up, down)


def test_a_shape_in_which_users_are_served_unevenly_is_refused() -> None:
    with pytest.raises(ValueError, match="spread evenly"):
        Shape(users=40, nodes=7, rows=10)


@pytest.mark.e2e
def test_a_fleet_under_load_pays_to_the_byte_what_was_reported_across_an_hour() -> None:
    bench = runs.Bench(asked=Asked(quick=True), say=lambda _: None)
    with bench.load(Shape(users=100_000, nodes=500, rows=1_000)) as load:
        load.collector.clock.begin_hour()
        with offering.probing(load.collector, load.cores) as told:
            bench.offer("without rest", load, Order(reports=3, at_once=5))
            load.collector.clock.advance(HOUR_MS)
            cost = bench.offer("at a pace", load, Order(reports=2, at_once=5, period_s=0.2))
            assert told().took_ms
        assert cost.outcome.rows == 2 * load.shape.round_rows
        assert set(load.rounds.values()) == {5}
        assert cost.cpu_s > 0
        assert load.astray() == 0
        load.rounds = dict(load.rounds) | {NodeId(1): 6}
        assert load.astray() > 0


def _content(directory: Path) -> dict[str, list[tuple[Any, ...]]]:
    with contextlib.closing(Database.open(directory)) as data:
        return data.read_now(_every_row)


def _every_row(session: Session) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for table in tables.ALL:
        listed, name = ", ".join(seeding.columns(table)), seeding.name(table)
        found[name] = sorted(session.rows(f"SELECT {listed} FROM {name}"), key=repr)  # noqa: S608 - ours
    return found
