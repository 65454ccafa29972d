"""Numbers of users, nodes, endpoints and managers.

What always holds: a number is never given out twice, also when yesterday's backup is restored: nodes still
hold, and still report, the numbers of whoever was made since.
"""

from typing import Literal

from collector.store.session import Session

_FLOOR = "id_floor"


def following(session: Session, table: Literal["user", "node", "endpoint", "manager"]) -> int:
    """The number for a new row."""
    highest = f'SELECT COALESCE(MAX(id), 0) + 1 FROM "{table}"'
    floor = "SELECT value FROM fact WHERE name = ?"
    both = session.rows(f"{highest} UNION ALL {floor}", (_FLOOR,))
    return max(int(number) for (number,) in both)


def raise_floor(session: Session, floor: int) -> None:
    """Give out no number below this from now on."""
    session.run(
        "INSERT INTO fact (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE fact.value < excluded.value",
        (_FLOOR, floor),
    )


def last_written_ms(session: Session) -> int | None:
    """When anything was last recorded: an event, or a node's heartbeat."""
    rows = session.rows("SELECT MAX(at_ms) FROM event UNION ALL SELECT MAX(last_seen_ms) FROM node")
    return max((moment for (moment,) in rows if moment is not None), default=None)
