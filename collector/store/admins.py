"""Admins."""

from dataclasses import dataclass

from collector.store.session import Session


@dataclass(frozen=True)
class Credentials:
    """What an admin's password is checked against."""

    id: int
    password_hash: str


def insert(session: Session, name: str, password_hash: str, now_ms: int) -> int:
    """Store a new admin; returns the id."""
    rows = session.rows(
        "INSERT INTO admin (name, password_hash, created_ms) VALUES (?, ?, ?) RETURNING id",
        (name, password_hash, now_ms),
    )
    return int(rows[0][0])


def credentials(session: Session, name: str) -> Credentials | None:
    """What the password of this admin is checked against."""
    rows = session.rows("SELECT id, password_hash FROM admin WHERE name = ?", (name,))
    return Credentials(*rows[0]) if rows else None


def exists(session: Session, admin: int) -> bool:
    """Whether there is an admin with this id."""
    return bool(session.rows("SELECT 1 FROM admin WHERE id = ?", (admin,)))


def count(session: Session) -> int:
    """How many admins there are."""
    return int(session.rows("SELECT COUNT(*) FROM admin")[0][0])


def save_password(session: Session, admin: int, password_hash: str) -> None:
    """Replace an admin's password."""
    session.run("UPDATE admin SET password_hash = ? WHERE id = ?", (password_hash, admin))
