"""The demo can say no: every claim fails on the figures that break it."""

import dataclasses
import io

import pytest

from tests.demo import figures
from tests.demo.stage import Stage, table

_ALICE = figures.Bill(
    name="alice",
    how="cut",
    delivered_bytes=31_000_000,
    counted_bytes=31_200_000,
    billed_bytes=31_200_000,
    quota_bytes=30_000_000,
)
_BOB = figures.Bill(
    name="bob",
    how="complete",
    delivered_bytes=60_000_000,
    counted_bytes=60_000_000,
    billed_bytes=60_000_000,
    quota_bytes=None,
)
_OUTAGE = figures.Outage(
    lasted_ms=1600.0, passed_bytes=16_000_000, billed_before_bytes=9_000_000, billed_after_bytes=9_000_000
)
_CAROL = figures.Tunnel(
    name="carol",
    how="complete",
    delivered_bytes=12_000_000,
    counted_bytes=12_900_000,
    billed_bytes=12_900_000,
)
_GOOD = figures.Figures(
    cut_user=_ALICE,
    neighbour=_BOB,
    outage=_OUTAGE,
    cut_seen_ms=400.0,
    cut_made_ms=12.0,
    new_connection="refused",
    tunnel=_CAROL,
)


def _alice(**changes: object) -> figures.Figures:
    return dataclasses.replace(_GOOD, cut_user=dataclasses.replace(_ALICE, **changes))  # type: ignore[arg-type] # by name


def _bob(**changes: object) -> figures.Figures:
    return dataclasses.replace(_GOOD, neighbour=dataclasses.replace(_BOB, **changes))  # type: ignore[arg-type] # by name


def _outage(**changes: object) -> figures.Figures:
    return dataclasses.replace(_GOOD, outage=dataclasses.replace(_OUTAGE, **changes))  # type: ignore[arg-type] # by name


def _carol(**changes: object) -> figures.Figures:
    return dataclasses.replace(_GOOD, tunnel=dataclasses.replace(_CAROL, **changes))  # type: ignore[arg-type] # by name


def _ok(measured: figures.Figures) -> bool:
    return bool(figures.summary(measured, figures.checks(measured))["ok"])


def test_right_figures_are_ok() -> None:
    assert _ok(_GOOD)


@pytest.mark.parametrize(
    "broken",
    [
        _alice(how="complete"),
        _alice(billed_bytes=31_200_001),
        _alice(billed_bytes=30_999_999, counted_bytes=30_999_999),
        _bob(how="cut"),
        _bob(billed_bytes=59_999_999),
        _bob(billed_bytes=60_000_001, counted_bytes=60_000_001),
        _outage(passed_bytes=0),
        _outage(billed_after_bytes=8_999_999),
        _carol(how="stalled"),
        _carol(billed_bytes=12_899_999),
        _carol(billed_bytes=12_900_001),
        _carol(delivered_bytes=12_900_001),
        _carol(delivered_bytes=0),
        dataclasses.replace(_GOOD, new_connection="complete"),
        dataclasses.replace(_GOOD, cut_seen_ms=None),
        dataclasses.replace(_GOOD, cut_seen_ms=60_000.0),
        dataclasses.replace(_GOOD, cut_made_ms=60_000.0),
    ],
)
def test_one_wrong_figure_is_not_ok(broken: figures.Figures) -> None:
    assert not _ok(broken)


def test_what_was_left_out_is_not_judged_but_the_bill_is() -> None:
    without_cut = dataclasses.replace(_alice(how="complete"), cut_made_ms=None, cut_judged=False)
    assert _ok(without_cut)
    assert not _ok(dataclasses.replace(without_cut, neighbour=_bob(billed_bytes=1).neighbour))


def test_a_demo_without_wireguard_is_judged_by_the_rest() -> None:
    without = dataclasses.replace(_GOOD, tunnel=None, left_out=("no WireGuard",))
    assert _ok(without)
    assert not _ok(dataclasses.replace(without, cut_seen_ms=None))
    assert len(figures.rows(without)) + 1 == len(figures.rows(_GOOD))


def test_a_table_is_aligned() -> None:
    lines = table(("user", "billed"), [("alice", 1_000), ("bob", 20)])
    assert lines == ["user   billed", "-----  ------", "alice   1,000", "bob        20"]


def test_a_pipe_gets_plain_lines() -> None:
    out = io.StringIO()
    stage = Stage(out, shown_s=-10.0)
    stage.progress("half")
    stage.progress("more")
    stage.plain("end")
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().endswith("half\nend\n")
