"""What the collector sees to when it begins to serve."""

from collector.app import learning
from collector.domain import access, continuity, refusals, resets
from collector.domain.events import COLLECTOR, Event, Kind
from collector.domain.payloads import Data, Restored
from collector.store import events, ids, managers, nodes, users
from collector.store.session import Session


def begin(session: Session, now_ms: int) -> None:
    """Note the start; after a gap give out nothing that the time in between may have given: numbers, leases.

    Refused where somebody lives by the calendar of a zone that this host does not know: no period could be
    told.
    """
    zones = [*users.zones(session), *managers.zones(session), *nodes.zones(session)]
    if wrong := list(filter(None, map(resets.wrong_zone, zones))):
        raise refusals.Refused(refusals.Kind.UNAVAILABLE, "users or nodes have a zone of which " + wrong[0])
    last_written_ms = ids.last_written_ms(session)
    _note(session, Kind.COLLECTOR_STARTED, Data(), now_ms)
    learning.begin(session, last_written_ms, now_ms)
    if floor := continuity.floor_after(last_written_ms, now_ms):
        ids.raise_floor(session, floor)
        restored = Restored(last_written_ms=last_written_ms or 0, floor=floor)
        _note(session, Kind.RESTORED, restored, now_ms)


def _note(session: Session, kind: Kind, data: Data, now_ms: int) -> None:
    event = Event(at_ms=now_ms, actor=access.SYSTEM, kind=kind, subject=COLLECTOR, data=data)
    events.append(session, event)
