"""Admins."""

from collections.abc import Iterable
from dataclasses import dataclass

from collector.store.session import Session


@dataclass(frozen=True)
class Credentials:
    """What an admin's password is checked against."""

    id: int
    password_hash: str
    credential: int


def insert(session: Session, name: str, password_hash: str, now_ms: int) -> int:
    """Store a new admin; returns the id."""
    rows = session.rows(
        "INSERT INTO admin (name, password_hash, credential, created_ms) VALUES (?, ?, 1, ?) RETURNING id",
        (name, password_hash, now_ms),
    )
    return int(rows[0][0])


def credentials(session: Session, name: str) -> Credentials | None:
    """What the password of this admin is checked against."""
    rows = session.rows("SELECT id, password_hash, credential FROM admin WHERE name = ?", (name,))
    return Credentials(*rows[0]) if rows else None


def standing(session: Session, admin: int) -> int | None:
    """The credential number that an admin's tokens must carry; None when there is no such admin."""
    rows = session.rows("SELECT credential FROM admin WHERE id = ?", (admin,))
    return int(rows[0][0]) if rows else None


def count(session: Session) -> int:
    """How many admins there are."""
    return int(session.rows("SELECT COUNT(*) FROM admin")[0][0])


def save_password(session: Session, admin: int, password_hash: str) -> None:
    """Replace an admin's password; tokens given out under the old one are void."""
    session.run(
        "UPDATE admin SET password_hash = ?, credential = credential + 1 WHERE id = ?", (password_hash, admin)
    )


def names(session: Session, admins: Iterable[int]) -> dict[int, str]:
    """The names of these admins, as far as they are there."""
    sql = f"SELECT a.id, a.name FROM {session.wanted} JOIN admin AS a ON a.id = wanted.value"
    return dict(session.rows(sql, (session.numbers(admins),)))
