"""The standings in a ledger's file: who has which place, and blocks of as many places as a page has room for.

What always holds: a block holds its columns whole, so that writing one is as quick as writing a row, and ten
thousand who moved are a hundred and some writes.
"""

import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from itertools import islice

from agent.core import standings
from agent.core.counting import Meter
from agent.core.standings import Standing, Standings
from shared.names import EndpointId, UserId

SCHEMA = (
    "CREATE TABLE places (place INTEGER PRIMARY KEY, user INTEGER NOT NULL, endpoint INTEGER NOT NULL)",
    (
        "CREATE TABLE blocks (block INTEGER PRIMARY KEY, ups BLOB NOT NULL, downs BLOB NOT NULL,"
        " quarters BLOB NOT NULL, last_ups BLOB NOT NULL, last_downs BLOB NOT NULL,"
        " generations BLOB NOT NULL)"
    ),
)
#: Places of a block: 3,840 bytes.
_TOGETHER = 80
_ROWS = (
    "SELECT user, endpoint, up, down, quarter, last_up, last_down, generation FROM meters"
    " ORDER BY user, endpoint"
)


def load(db: sqlite3.Connection) -> Standings:
    """Every meter ever counted. Raises ValueError when the blocks are not those of the places."""
    meters = [
        Meter(UserId(user), EndpointId(endpoint))
        for user, endpoint in db.execute("SELECT user, endpoint FROM places ORDER BY place")
    ]
    columns = tuple(array("q") for _ in range(standings.COLUMNS))
    for _, *blobs in db.execute("SELECT * FROM blocks ORDER BY block"):
        for column, blob in zip(columns, blobs, strict=True):
            column.frombytes(blob)
    if {len(column) for column in columns} != {len(meters)}:
        raise ValueError("its blocks are not those of its places")
    return Standings(meters, columns)


def put(db: sqlite3.Connection, after: Standings, changed: Iterable[int], known: int) -> None:
    """Keep what has changed of these standings, and the places beyond so many that were known."""
    blocks = {place // _TOGETHER for place in changed}
    # A commit that failed and reached the disk all the same has left others there.
    if db.execute("DELETE FROM places WHERE place >= ?", (known,)).rowcount:
        db.execute("DELETE FROM blocks WHERE block >= ?", (known // _TOGETHER,))
        blocks.add(known // _TOGETHER)
    new = enumerate(islice(after.meters, known, None), known)
    db.executemany("INSERT INTO places VALUES (?, ?, ?)", ((place, *meter) for place, meter in new))
    db.executemany(
        "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)",
        ((block, *_slices(after.columns, block)) for block in sorted(blocks)),
    )


def sums(db: sqlite3.Connection) -> tuple[int, int, int]:
    """Meters, and bytes up and down of all."""
    ups, downs = array("q"), array("q")
    for up, down in db.execute("SELECT ups, downs FROM blocks"):
        ups.frombytes(up)
        downs.frombytes(down)
    return len(ups), sum(ups), sum(downs)


def convert(db: sqlite3.Connection) -> None:
    """Bring the rows of an older ledger, one a meter, into blocks."""
    found = Standings()
    for user, endpoint, up, down, quarter, last_up, last_down, generation in db.execute(_ROWS):
        which = Meter(UserId(user), EndpointId(endpoint))
        found.put(which, Standing(up, down, quarter, last_up, last_down, standings.tag(generation)))
    put(db, found, range(len(found)), 0)
    db.execute("DROP TABLE meters")


def _slices(columns: "Sequence[array[int]]", block: int) -> list[bytes]:
    part = slice(block * _TOGETHER, (block + 1) * _TOGETHER)
    return [column[part].tobytes() for column in columns]
