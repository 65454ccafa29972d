"""Small numbers by their names."""

from collector.store.session import Session


def find(session: Session, name: str) -> int | None:
    """The number of this name."""
    rows = session.rows("SELECT value FROM fact WHERE name = ?", (name,))
    return int(rows[0][0]) if rows else None


def put(session: Session, name: str, value: int) -> None:
    """Keep a number under this name."""
    session.run(
        "INSERT INTO fact (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def forget(session: Session, name: str) -> None:
    """Keep no number under this name any more."""
    session.run("DELETE FROM fact WHERE name = ?", (name,))
