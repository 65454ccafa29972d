"""Logins of managers.

What always holds: a manager without a password has no login; a new password, or none, voids the tokens given
out before.
"""

from dataclasses import dataclass

from collector.store.session import Session
from shared.names import ManagerId


@dataclass(frozen=True)
class Credentials:
    """What a manager's password is checked against."""

    id: ManagerId
    password_hash: str
    credential: int


def credentials(session: Session, name: str) -> Credentials | None:
    """What the password of the manager of this name is checked against; None where he has no login."""
    rows = session.rows(
        "SELECT id, password_hash, credential FROM manager WHERE name_key = ? AND password_hash IS NOT NULL",
        (name,),
    )
    return Credentials(*rows[0]) if rows else None


def standing(session: Session, manager: ManagerId) -> int | None:
    """The credential number that a manager's tokens must carry; None where he has no login."""
    rows = session.rows(
        "SELECT credential FROM manager WHERE id = ? AND password_hash IS NOT NULL", (manager,)
    )
    return int(rows[0][0]) if rows else None


def save_password(session: Session, manager: ManagerId, password_hash: str | None) -> None:
    """Replace a manager's password, or take his login away; tokens given out before are void."""
    session.run(
        "UPDATE manager SET password_hash = ?, credential = credential + 1 WHERE id = ?",
        (password_hash, manager),
    )
