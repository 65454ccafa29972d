"""Old events go, and every user can still be told from what is left; what was posted is remembered."""

import asyncio
import contextlib
import shutil
import sqlite3
from pathlib import Path

import msgspec
import peewee
import pytest
from playhouse import migrations

from collector.app import events, journal, users, webhooks
from collector.domain.events import Recorded, Wanted
from collector.domain.stream import Cursor
from collector.store import database
from collector.store.database import Database
from collector.store.engines import sqlite
from collector.tasks import retention
from collector.tasks import webhooks as posting
from shared.names import UserId
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet

DAY_MS = 86_400_000
_MIGRATIONS = Path(database.__file__).with_name("migrations")


def _every(fleet: Fleet) -> list[Recorded]:
    return fleet.db.read_now(events.page, 0, 1_000)


def _retain(fleet: Fleet, days: int, now_ms: int) -> None:
    asyncio.run(retention.run(fleet.db, days, lambda: now_ms))


def test_events_beyond_their_days_are_dropped_and_every_user_is_told_before(fleet: Fleet) -> None:
    old, young = fleet.user(1, quota_bytes=1_000), fleet.user(2)
    fleet.report((old.id, fleet.endpoint.id, 30, 70))
    fleet.change(young, NOW_MS + 11 * DAY_MS, quota_bytes=5)
    now_ms = NOW_MS + 12 * DAY_MS
    _retain(fleet, 10, now_ms)
    left = _every(fleet)
    assert [one.kind for one in left if one.at_ms < now_ms] == ["USER_CHANGED"]
    assert {one.kind for one in left} == {"USER_CHANGED", "USER_SNAPSHOT", "EVENTS_DROPPED"}
    (dropped,) = (one for one in left if one.kind == "EVENTS_DROPPED")
    assert dropped.data["through"] == left[0].number - 1
    told = fleet.db.read_now(events.replayed, old.id, now_ms)
    assert told is not None
    assert (told.life, told.period, told.facts.quota_bytes) == ((30, 70), (30, 70), 1_000)


def test_nothing_is_dropped_when_all_is_kept_or_nothing_is_old(fleet: Fleet) -> None:
    fleet.user()
    before = _every(fleet)
    _retain(fleet, 0, NOW_MS + 1_000 * DAY_MS)
    _retain(fleet, 10, NOW_MS + 10 * DAY_MS)
    assert _every(fleet) == before


def test_a_user_is_told_once_however_many_batches_take_his_events(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    user = fleet.user()
    for quota in range(9):
        fleet.change(user, NOW_MS + quota, quota_bytes=quota)
    _retain(fleet, 10, NOW_MS + 20 * DAY_MS)
    _retain(fleet, 10, NOW_MS + 21 * DAY_MS)
    kinds = [one.kind for one in _every(fleet)]
    assert kinds.count("USER_SNAPSHOT") == 1
    assert "USER_CREATED" not in kinds


def test_a_snapshot_that_grows_old_is_replaced_by_another(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=7)
    for year in range(1, 4):
        _retain(fleet, 10, NOW_MS + year * 365 * DAY_MS)
        told = fleet.db.read_now(events.replayed, user.id, NOW_MS + year * 365 * DAY_MS)
        assert told is not None
        assert told.facts.quota_bytes == 7
    assert [one.kind for one in _every(fleet)].count("USER_SNAPSHOT") == 1


def test_of_a_removed_user_nothing_is_kept_for_ever(fleet: Fleet) -> None:
    user = fleet.user()
    fleet.db.write_now(users.remove, user.id, ADMIN, NOW_MS + 15 * DAY_MS)
    _retain(fleet, 10, NOW_MS + 20 * DAY_MS)
    told = fleet.db.read_now(events.replayed, user.id, NOW_MS)
    assert told is not None
    assert told.removed
    _retain(fleet, 10, NOW_MS + 400 * DAY_MS)
    assert not fleet.db.read_now(events.page, 0, 10, Wanted(subject=f"user:{user.id}"))


def test_a_number_is_not_given_twice_though_all_events_were_dropped(fleet: Fleet) -> None:
    fleet.user()
    highest = _every(fleet)[-1].number
    fleet.db.write_now(journal.cut, NOW_MS + DAY_MS, 1_000, NOW_MS + DAY_MS)
    assert _every(fleet)[0].number > highest


def test_bytes_that_leave_the_history_are_told_as_a_sum(fleet: Fleet) -> None:
    user = fleet.user()
    for hour in range(3):
        fleet.report((user.id, fleet.endpoint.id, 5, 10 * hour), now_ms=NOW_MS + hour * 3_600_000)
    first_hour = NOW_MS // 3_600_000
    fleet.db.write_now(lambda session: session.run("DELETE FROM history WHERE hour = ?", (first_hour,)))
    found = fleet.db.read_now(events.of_user, user.id, Cursor(), 100, NOW_MS + 3 * 3_600_000).events
    forgotten = [one.data for one in found if one.kind == "USAGE_FORGOTTEN"]
    assert forgotten == [{"billed_up_bytes": 5, "billed_down_bytes": 0}]
    told = fleet.db.read_now(events.replayed, user.id, NOW_MS + 3 * 3_600_000)
    assert told is not None
    assert told.life == (5, 20)


def test_users_of_an_older_version_are_told_after_the_migration(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    shutil.copy(_MIGRATIONS / "0001_initial.py", first)
    old = peewee.SqliteDatabase(str(tmp_path / sqlite.FILE))
    with old.connection_context():
        migrations.Runner(old, str(first)).up()
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.FILE)) as filled, filled:
        filled.executemany(
            'INSERT INTO "user" (id, uuid, name, status, quota_bytes, created_ms)'
            " VALUES (?, 'u', 'ada', 'active', 900, 5)",
            [(number,) for number in range(1, 1_002)],
        )
        filled.executemany(
            "INSERT INTO counter (user_id, up_bytes, down_bytes) VALUES (?, ?, 600)",
            [(number, number) for number in range(1, 1_002)],
        )
    db = Database.open(tmp_path)
    assert db.read_now(events.replayed, UserId(1_001), NOW_MS) is None
    asyncio.run(retention.run(db, 0, lambda: NOW_MS))
    for number in (1, 500, 1_001):
        told = db.read_now(events.replayed, UserId(number), NOW_MS)
        assert told is not None
        assert (told.life, told.period) == ((number, 600), (number, 600))
    asyncio.run(retention.run(db, 0, lambda: NOW_MS))
    assert db.read_now(events.newest) == 1_001
    db.close()


# --- what is posted ----------------------------------------------------------------------------------------


def test_what_was_not_confirmed_is_posted_again_and_what_was_is_not(fleet: Fleet) -> None:
    bodies: list[bytes] = []

    async def refuse(content: bytes) -> None:
        bodies.append(content)
        raise ConnectionError

    async def accept(content: bytes) -> None:
        bodies.append(content)

    asyncio.run(posting.run(fleet.db, accept))
    assert bodies == []  # what was there before is not posted
    user = fleet.user()
    with pytest.raises(ConnectionError):
        asyncio.run(posting.run(fleet.db, refuse))
    asyncio.run(posting.run(fleet.db, accept))
    asyncio.run(posting.run(fleet.db, accept))
    first, second = bodies
    assert first == second
    assert f'"subject":"user:{user.id}"'.encode() in first


def test_many_events_are_posted_in_batches_and_in_order(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "BATCH", 3)
    fleet.db.write_now(webhooks.begin)
    for number in range(7):
        fleet.user(number)
    batches: list[list[int]] = []

    async def accept(content: bytes) -> None:
        batches.append([one["number"] for one in msgspec.json.decode(content)["events"]])

    asyncio.run(posting.run(fleet.db, accept))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    numbers = [number for batch in batches for number in batch]
    assert numbers == sorted(set(numbers))
