"""Group commit, failures, and what other processes do, on both engines."""

import asyncio

import pytest

from collector.store import admins
from collector.store.database import Database
from collector.store.session import Session
from tests.kit.stores import Store


def _add(session: Session, name: str) -> int:
    return admins.insert(session, name, "hash", 0)


def _add_and_fail(session: Session, name: str) -> None:
    _add(session, name)
    raise ValueError("decided against it")


def _add_twice(session: Session, name: str) -> None:
    _add(session, name)
    _add(session, name)


def _names(session: Session) -> list[str]:
    return [name for (name,) in session.rows("SELECT name FROM admin ORDER BY id")]


@pytest.mark.parametrize("failing", [_add_and_fail, _add_twice])
def test_a_write_that_fails_undoes_itself_and_not_its_neighbours(store: Store, failing: object) -> None:
    async def scenario(db: Database) -> list[object]:
        writes = [db.write(_add, "a"), db.write(failing, "b"), db.write(_add, "c")]  # type: ignore[arg-type]  # any function of a session
        return list(await asyncio.gather(*writes, return_exceptions=True))

    db = store.open()
    first, failed, third = asyncio.run(scenario(db))
    assert isinstance(first, int)
    assert isinstance(third, int)
    assert first < third
    assert isinstance(failed, Exception)
    assert db.read_now(_names) == ["a", "c"]
    db.close()


def test_what_was_answered_is_there_after_opening_again(store: Store) -> None:
    db = store.open()
    db.write_now(_add, "a")
    db.close()
    again = store.open()
    assert again.read_now(_names) == ["a"]
    again.close()


def test_writes_keep_their_order_and_none_is_lost_when_many_wait_together(store: Store) -> None:
    async def scenario(db: Database) -> list[int]:
        return list(await asyncio.gather(*(db.write(_add, f"a{number}") for number in range(600))))

    db = store.open()
    numbers = asyncio.run(scenario(db))
    assert numbers == sorted(numbers)
    assert db.read_now(_names) == [f"a{number}" for number in range(600)]
    db.close()


def test_a_reader_sees_one_snapshot_while_others_write(store: Store) -> None:
    db = store.open()
    db.write_now(_add, "a")

    def twice(session: Session) -> tuple[list[str], list[str]]:
        before = _names(session)
        db.write_now(_add, "b")
        return before, _names(session)

    assert db.read_now(twice) == (["a"], ["a"])
    assert db.read_now(_names) == ["a", "b"]
    db.close()


def test_commits_of_another_process_are_noticed_and_own_ones_are_not(store: Store) -> None:
    db, other = store.open(), store.open()
    assert not asyncio.run(db.changed_elsewhere())
    db.write_now(_add, "a")
    assert not asyncio.run(db.changed_elsewhere())
    for name in "bc":
        other.write_now(_add, name)
        assert asyncio.run(db.changed_elsewhere())
        assert not asyncio.run(db.changed_elsewhere())
    # What failed here hides nothing of what others did.
    with pytest.raises(ValueError, match="against"):
        db.write_now(_add_and_fail, "d")
    other.write_now(_add, "e")
    db.write_now(_add, "f")
    assert asyncio.run(db.changed_elsewhere())
    other.close()
    db.close()


def test_writers_of_two_processes_take_turns(store: Store) -> None:
    def add_next(session: Session) -> None:
        taken = session.rows("SELECT COALESCE(MAX(value), 0) FROM fact WHERE name LIKE ?", ("turn-%",))[0][0]
        session.run("INSERT INTO fact (name, value) VALUES (?, ?)", (f"turn-{taken + 1}", taken + 1))

    async def scenario(*opened: Database) -> None:
        await asyncio.gather(*(one.write(add_next) for one in opened * 50))

    both = (store.open(), store.open())
    asyncio.run(scenario(*both))
    turns = both[0].read_now(
        lambda session: session.rows("SELECT value FROM fact WHERE name LIKE ?", ("t%",))
    )
    assert sorted(turns) == [(number,) for number in range(1, 101)]
    for one in both:
        one.close()
