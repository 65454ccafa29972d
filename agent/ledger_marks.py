"""The marks in a ledger's file: totals at the ends of quarters that the collector has not confirmed.

What always holds: they are in no memory but the file's, since an outage of days makes millions of them; they
lie in the order of their quarters, so keeping and telling them touches one end of the table.
"""

import itertools
import sqlite3
from collections.abc import Iterable

from agent.core.marks import Merge
from shared.messages import Past, Report

SCHEMA = (
    "CREATE TABLE marks (quarter INTEGER, user INTEGER, endpoint INTEGER, up INTEGER NOT NULL,"
    " down INTEGER NOT NULL, PRIMARY KEY (quarter, user, endpoint)) WITHOUT ROWID"
)
#: One row when there are any.
ANY = "SELECT 1 FROM marks LIMIT 1"
#: The first so many in the order of their quarters.
OLDEST = "SELECT user, endpoint, up, down, quarter FROM marks ORDER BY quarter, user, endpoint LIMIT ?"


def keep(db: sqlite3.Connection, marks: Iterable[Past]) -> None:
    """Add these."""
    db.executemany(
        "INSERT OR REPLACE INTO marks (quarter, user, endpoint, up, down) VALUES (?, ?, ?, ?, ?)",
        ((one.quarter, one.user, one.endpoint, one.up, one.down) for one in marks),
    )


def drop(db: sqlite3.Connection, told: Report) -> None:
    """Remove what a report told; a mark that has grown meanwhile, by merging, stays."""
    past = ((one.quarter, one.user, one.endpoint, one.up, one.down) for one in told.past)
    rows = ((told.quarter, one.user, one.endpoint, one.up, one.down) for one in told.rows)
    db.executemany(
        "DELETE FROM marks WHERE quarter = ? AND user = ? AND endpoint = ? AND up <= ? AND down <= ?",
        itertools.chain(past, rows),
    )


def merge(db: sqlite3.Connection, which: Merge) -> None:
    """Leave one of several marks of a meter: the first quarter with the last totals."""
    db.execute(
        "CREATE TEMP TABLE merged AS"
        " SELECT min(quarter) AS quarter, user, endpoint, max(up) AS up, max(down) AS down FROM marks"
        " WHERE quarter >= ? AND quarter < ? GROUP BY user, endpoint, quarter / ?",
        which,
    )
    db.execute("DELETE FROM marks WHERE quarter >= ? AND quarter < ?", which[:2])
    db.execute(
        "INSERT INTO marks (quarter, user, endpoint, up, down)"
        " SELECT quarter, user, endpoint, up, down FROM merged ORDER BY quarter, user, endpoint"
    )
    db.execute("DROP TABLE merged")
