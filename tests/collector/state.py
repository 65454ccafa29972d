"""What is state of the collector, so that a change of it has to be an event (row H8)."""

from collections.abc import Callable
from typing import Any

from collector.app import events
from collector.store import tables
from collector.store.session import Session

#: What is none: measurements, which are told by the hour; what nodes were lent, have applied or are told,
#: which follows from the rest; who was ever placed; numbers of our own.
_NO_STATE = {
    *("ledger", "meter", "opening", "history", "volume", "month", "counter", "manager_counter"),
    *("lease", "recall", "desired", "placing", "event", "fact"),
}
_NO_STATE_COLUMNS = {
    "node": {"last_seen_ms", "heartbeat", "generation", "acknowledged", "horizon"},
    "failure": {"generation"},
    "quarantine": {"up_bytes", "down_bytes", "last_ms", "seen_count"},
    # When time is next looked at, and what follows from the managers above.
    "user": {"due_ms", "terms", "pooled", "manager_stopped"},
    "manager": {"due_ms"},
}
_COLUMNS = {
    model._meta.table_name: list(model._meta.columns)  # noqa: SLF001 - there is no other way to them
    for model in tables.ALL
}


def of(session: Session) -> dict[str, list[tuple[object, ...]]]:
    """All of it, by table."""
    found = {}
    for name in _COLUMNS.keys() - _NO_STATE:
        columns = [one for one in _COLUMNS[name] if one not in _NO_STATE_COLUMNS.get(name, set())]
        listed = ", ".join(f'"{column}"' for column in columns)
        found[name] = sorted(session.rows(f'SELECT {listed} FROM "{name}"'), key=repr)  # noqa: S608 - ours
    return found


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which fails when it changes state without an event."""

    def checked(session: Session, *args: object, **kwargs: object) -> object:
        before, newest = of(session), events.newest(session)
        value = function(session, *args, **kwargs)
        after = of(session)
        if before != after and events.newest(session) == newest:
            changed = [name for name, rows in after.items() if rows != before[name]]
            raise AssertionError(
                f"{function.__module__}.{function.__name__} changes {changed} and tells nobody"
            )
        return value

    return checked
