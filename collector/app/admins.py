"""Admins: made on the command line, known by name and password."""

from collector.domain import refusals
from collector.domain.access import Actor
from collector.domain.changes import Change
from collector.domain.events import Event, Kind, Subject, Thing
from collector.domain.payloads import Named
from collector.store import admins, events, managers
from collector.store.session import Session

Credentials = admins.Credentials


def create(session: Session, name: str, password_hash: str, actor: Actor, now_ms: int) -> Change[int]:
    """Make an admin; returns the id. Refused when the name is taken."""
    # Admins and managers log in with their names by one door.
    if admins.credentials(session, name) is not None or managers.holder(session, name) is not None:
        raise refusals.conflict(
            f"there is an admin or manager named {name} already", {"name": "choose another name"}
        )
    number = admins.insert(session, name, password_hash, now_ms)
    _note(session, number, name, Kind.ADMIN_CREATED, actor, now_ms)
    return Change(number)


def credentials(session: Session, name: str) -> Credentials | None:
    """What the password of this admin is checked against."""
    return admins.credentials(session, name)


def standing(session: Session, admin: int) -> int | None:
    """The credential number that an admin's tokens must carry; None when there is no such admin."""
    return admins.standing(session, admin)


def count(session: Session) -> int:
    """How many admins there are."""
    return admins.count(session)


def change_password(
    session: Session, name: str, password_hash: str, actor: Actor, now_ms: int
) -> Change[int]:
    """Replace the password of an admin, who has to log in again everywhere; returns the id."""
    found = admins.credentials(session, name)
    if found is None:
        raise refusals.Refused(refusals.Kind.NOT_FOUND, f"there is no admin named {name}")
    admins.save_password(session, found.id, password_hash)
    _note(session, found.id, name, Kind.ADMIN_PASSWORD_CHANGED, actor, now_ms)
    return Change(found.id)


def _note(session: Session, admin: int, name: str, kind: Kind, actor: Actor, now_ms: int) -> None:
    subject, data = Subject(Thing.ADMIN, admin), Named(name=name)
    events.append(session, Event(at_ms=now_ms, actor=actor, kind=kind, subject=subject, data=data))
