"""Replay: whatever happens to a user, his events and his usage say what is stored of him."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collector.app import events, journal, usage, users
from collector.domain import payloads
from collector.domain.reports import Received
from collector.domain.resets import Anchor, Mode
from collector.domain.stream import Cursor
from collector.domain.users import User
from collector.store import users as stored
from shared.messages import Usage
from shared.names import QUARTER_MS, LedgerId
from tests.collector.app import fleet as made
from tests.collector.app.fleet import ADMIN, NOW_MS

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
_LEDGERS = (LedgerId("ledger-a"), LedgerId("ledger-b"))
_LIMITS = st.none() | st.integers(0, 5_000)
_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "quota_bytes": _LIMITS,
        "up_limit_bytes": _LIMITS,
        "down_limit_bytes": _LIMITS,
        "active": st.booleans(),
        "down_kbps": st.none() | st.integers(8, 5_000),
        "reset": st.sampled_from([Mode.NEVER, Mode.HOURLY, Mode.DAILY]),
        "reset_anchor": st.sampled_from(Anchor),
        "zone": st.sampled_from(["UTC", "Asia/Kolkata"]),
        "duration_s": st.none() | st.integers(1, 200_000),
        "start_at_ms": st.none() | st.integers(NOW_MS, NOW_MS + 48 * HOUR_MS),
    },
)


class Lives(RuleBasedStateMachine):
    """One user in a real store, through whatever can happen to him."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.fleet = self.stack.enter_context(made.opened(Path(directory)))
        self.now_ms = NOW_MS
        self.totals = dict.fromkeys(_LEDGERS, (0, 0))
        self.sequence = 0
        self.removed = False

    @initialize(fields=_CHANGES, late_ms=st.integers(0, HOUR_MS))
    def begin(self, fields: dict[str, Any], late_ms: int) -> None:
        fields = {name: value for name, value in fields.items() if name != "active"}
        self.now_ms += late_ms
        self.user: User = self.fleet.user(now_ms=self.now_ms, **fields)

    @rule(minutes=st.integers(1, 60 * 30))
    def pass_time(self, minutes: int) -> None:
        self.now_ms += minutes * MINUTE_MS
        self.fleet.tick(self.now_ms)

    @rule(ledger=st.sampled_from(_LEDGERS), up=st.integers(0, 1_500), down=st.integers(0, 1_500))
    def use(self, ledger: LedgerId, up: int, down: int) -> None:
        self._report(ledger, up, down, [])

    @rule(
        ledger=st.sampled_from(_LEDGERS),
        up=st.integers(0, 900),
        outage=st.integers(1, 26 * 4),
        ticked=st.booleans(),
    )
    def use_through_an_outage(self, ledger: LedgerId, up: int, outage: int, *, ticked: bool) -> None:
        quarter = self.now_ms // QUARTER_MS
        self.now_ms += outage * QUARTER_MS
        if ticked:
            self.fleet.tick(self.now_ms)
        before_up, before_down = self.totals[ledger]
        past = [
            (before_up + up, before_down, quarter),
            (before_up + 2 * up, before_down, quarter + outage // 2),
        ]
        self.totals[ledger] = (before_up + 2 * up, before_down)
        self._report(ledger, up, 0, past)

    @rule(fields=_CHANGES)
    def change(self, fields: dict[str, Any]) -> None:
        if not self.removed:
            self.fleet.change(self.user, self.now_ms, **fields)

    @rule()
    def take_off_all_endpoints(self) -> None:
        if not self.removed:
            self.fleet.db.write_now(users.assign, self.user.id, [], ADMIN, self.now_ms)

    @rule()
    def remove(self) -> None:
        if not self.removed:
            self.fleet.db.write_now(users.remove, self.user.id, ADMIN, self.now_ms)
            self.removed = True

    @rule(most=st.integers(1, 8))
    def drop_old_events(self, most: int) -> None:
        self.fleet.db.write_now(journal.cut, self.now_ms, most, self.now_ms)

    @invariant()
    def replay_equals_what_is_stored(self) -> None:
        self.fleet.tick(self.now_ms)
        first = self.fleet.db.read_now(events.of_user, self.user.id, Cursor(), 1, self.now_ms)
        # Or nothing could be wrong with what he used in all.
        assert "USAGE_FORGOTTEN" not in {one.kind for one in first.events}
        told = self.fleet.db.read_now(events.replayed, self.user.id, self.now_ms)
        kept = self.fleet.db.read_now(stored.among, [self.user.id])[self.user.id]
        if told is None:
            assert self.removed  # and every event of his was dropped
            return
        assert told.removed == self.removed
        assert told.life == (kept.life_up_bytes, kept.life_down_bytes)
        assert told.period == (kept.up_bytes, kept.down_bytes)
        facts = payloads.of_user(kept)
        for name in facts.keys() - {"period_start_ms"}:
            assert getattr(told.facts, name) == facts[name], name
        if not self.removed:
            assert told.period_start_ms(self.now_ms) == kept.period_start_ms

    def _report(self, ledger: LedgerId, up: int, down: int, past: list[tuple[int, int, int]]) -> None:
        self.sequence += 1
        before_up, before_down = self.totals[ledger]
        self.totals[ledger] = (before_up + up, before_down + down)
        number, endpoint = self.user.id, self.fleet.endpoint.id
        report = Received(
            ledger=ledger,
            rows=[(len(past), Usage(number, endpoint, *self.totals[ledger]))],
            past=[(place, Usage(number, endpoint, one[0], one[1]), one[2]) for place, one in enumerate(past)],
            undecodable=[],
            quarter=self.now_ms // QUARTER_MS,
            order=(1, self.sequence),
        )
        self.fleet.db.write_now(usage.ingest, self.fleet.node.id, report, self.now_ms)

    def teardown(self) -> None:
        self.stack.close()


# Not shrunk: a store is opened for each attempt, and twenty steps can be read.
Lives.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=20,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
TestLives = Lives.TestCase
