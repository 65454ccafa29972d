"""The history on PostgreSQL: a partition a month, and one for hours of months that nobody has made yet.

What always holds: a row is in exactly one partition, and making the partition of a month takes its rows out
of the one for all others. Months are those of UTC; an hour is counted since the epoch, as in the table.
"""

import calendar
import datetime
from collections.abc import Callable
from typing import Any

Execute = Callable[..., Any]

_HOUR_S = 3600


def prepare(execute: Execute) -> None:
    """Make the migrations' plain table a partitioned one, and partitions for this month and the next."""
    if execute("SELECT to_regclass('tidegate.history') IS NOT NULL").fetchone()[0]:
        execute(
            "CREATE TABLE history.history (LIKE tidegate.history INCLUDING ALL) PARTITION BY RANGE (hour)"
        )
        execute("CREATE TABLE history.other PARTITION OF history.history DEFAULT")
        execute("INSERT INTO history.history SELECT * FROM tidegate.history")
        execute("DROP TABLE tidegate.history")
    today = datetime.datetime.now(datetime.UTC)
    make(execute, today.year, today.month)
    make(execute, *_after(today.year, today.month))


def make(execute: Execute, year: int, month: int) -> None:
    """Make the partition of a month; rows that wait for it among the others move into it."""
    name, first, end = _name(year, month), _first_hour(year, month), _first_hour(*_after(year, month))
    if execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone()[0]:
        return
    execute(f"CREATE TABLE {name} (LIKE history.history INCLUDING ALL)")
    execute(
        f"WITH moved AS (DELETE FROM history.other WHERE hour >= {first} AND hour < {end} RETURNING *)"
        f" INSERT INTO {name} SELECT * FROM moved"
    )
    execute(f"ALTER TABLE history.history ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({end})")


def drop(execute: Execute, year: int, month: int) -> None:
    """Drop the partition of a month with its rows; none is fine."""
    execute(f"DROP TABLE IF EXISTS {_name(year, month)}")


def _name(year: int, month: int) -> str:
    return f"history.y{year:04d}m{month:02d}"


def _after(year: int, month: int) -> tuple[int, int]:
    return (year + month // 12, month % 12 + 1)


def _first_hour(year: int, month: int) -> int:
    return calendar.timegm((year, month, 1, 0, 0, 0)) // _HOUR_S
