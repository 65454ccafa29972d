"""Kinds and payloads: the list is closed, and what is stored reads for ever."""

import msgspec
import pytest
from msgspec import structs

from collector.domain import events, payloads
from collector.domain.access import SYSTEM
from collector.domain.events import COLLECTOR, PAYLOADS, Event, Kind, Recorded, Wanted
from collector.domain.payloads import Data, UserFacts
from collector.domain.users import User

#: What events do not say of a user: credentials, what is counted, and what follows from the rest.
_UNSAID = {"id", "uuid", "terms", "due_ms", "last_used_ms", "manager_stopped", "pooled"}
_COUNTED = {"up_bytes", "down_bytes", "life_up_bytes", "life_down_bytes"}
#: Told by each connection.
_PRESENT = {"first_connected_ms", "last_connected_ms"}
_FLATTENED = {"validity"}


def _recorded(kind: str, data: dict[str, object]) -> Recorded:
    return Recorded(number=1, at_ms=2, actor="admin:1", kind=kind, subject="user:1", data=data)


def test_every_kind_is_its_own_name_and_has_a_payload() -> None:
    assert all(kind.value == kind.name for kind in Kind)
    assert set(PAYLOADS) == set(Kind)


def test_an_event_with_the_payload_of_another_kind_cannot_be_made() -> None:
    Event(at_ms=1, actor=SYSTEM, kind=Kind.COLLECTOR_STARTED, subject=COLLECTOR, data=Data())
    with pytest.raises(TypeError, match="RESTORED carries Restored"):
        Event(at_ms=1, actor=SYSTEM, kind=Kind.RESTORED, subject=COLLECTOR, data=Data())


@pytest.mark.parametrize("kind", Kind)
def test_no_payload_can_carry_a_secret_or_an_address(kind: Kind) -> None:
    words = ("uuid", "secret", "password", "token", "address", "hash")
    names = [one.name for one in msgspec.structs.fields(PAYLOADS[kind])]
    assert not [name for name in names if any(word in name for word in words)]


def test_what_another_version_wrote_still_reads_as_words() -> None:
    unknown = _recorded("MOON_LANDED", {"where": "mare"})
    assert events.payload(unknown) is None
    older = _recorded("USER_CREATED", {"name": "ada", "status": "active", "quota_bytes": None})
    assert events.payload(older) is None
    newer = _recorded("USER_REMOVED", {"name": "ada", "and": "more"})
    assert events.payload(newer) == payloads.Named(name="ada")


def test_events_say_everything_of_a_user_but_what_is_left_out_for_a_reason() -> None:
    said = {one.name for one in structs.fields(UserFacts)}
    of_user = {one.name for one in structs.fields(User)}
    assert of_user - said == _UNSAID | _COUNTED | _FLATTENED | _PRESENT
    assert said - of_user == {
        *("reset", "reset_anchor", "reset_day", "reset_month", "zone", "duration_s", "start_at_ms")
    }


def test_only_fields_that_differ_are_changes() -> None:
    changes = events.changes({"a": 1, "b": None}, {"a": 1, "b": 2})
    assert changes == {"b": payloads.Pair(None, 2)}


@pytest.mark.parametrize(
    ("wanted", "matching"),
    [
        (Wanted(), True),
        (Wanted(subject="user:1", actor="admin:1", kind="USER_REMOVED"), True),
        (Wanted(subject="user:2"), False),
        (Wanted(actor="admin:2"), False),
        (Wanted(kind="USER_CREATED"), False),
        (Wanted(people=True), True),
    ],
)
def test_an_event_matches_what_is_wanted(wanted: Wanted, *, matching: bool) -> None:
    assert events.matches(_recorded("USER_REMOVED", {"name": "ada"}), wanted) == matching


def test_what_the_collector_and_nodes_do_is_done_by_no_people() -> None:
    for actor in ("system:0", "node:3"):
        one = Recorded(number=1, at_ms=2, actor=actor, kind="X", subject="user:1", data={})
        assert not events.matches(one, Wanted(people=True))
