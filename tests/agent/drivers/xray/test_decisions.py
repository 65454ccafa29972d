"""The driver's pure parts: names, plans, configuration, requests, counters, the register."""

import ipaddress
import itertools
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import counting
from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers.xray import (
    accounts,
    checks,
    config,
    cores,
    counters,
    guard,
    labels,
    options,
    output,
    register,
    sockets,
    webhook,
)
from agent.drivers.xray import xray_pb2 as pb
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId

IDS = st.integers(min_value=1, max_value=2**63 - 1)
ENDPOINTS = {EndpointId(n): Endpoint(endpoint=EndpointId(n), protocol="vless", port=n) for n in (1, 2)}
# Few enough to collide, two of them differing only where Xray does not look.
UUIDS = st.sampled_from([str(uuid.UUID(int=n)) for n in (1, 2, 3, 1 | (7 << 64), 2 | (9 << 64))])
METERS = st.builds(Meter, st.integers(1, 4).map(UserId), st.integers(1, 2).map(EndpointId))
PEERS = st.builds(
    lambda address, port: sockets.peer(str(address), port),
    st.ip_addresses(),
    st.integers(0, 65_535),
)


@given(IDS, IDS)
def test_an_email_names_its_user_and_endpoint(user: int, endpoint: int) -> None:
    email = labels.email(UserId(user), EndpointId(endpoint))
    assert email == email.lower()
    assert labels.parse_email(email) == (user, endpoint)
    assert labels.parse_tag(labels.tag(EndpointId(endpoint))) == endpoint


@pytest.mark.parametrize(
    "text", ["", "u1", "u0-e1", "u01-e1", "U1-e1", "u1-e1\n", " u1-e1", "u1-e1>>>", "u\u0661-e1"]
)
def test_what_is_not_our_email_is_nobodys(text: str) -> None:
    assert labels.parse_email(text) is None


@st.composite
def situations(draw: st.DrawFn) -> tuple[dict[Meter, str], list[Account]]:
    """Accounts that are held, none of which Xray takes for another, and any that are wanted."""
    held: dict[Meter, str] = {}
    for meter, text in draw(st.lists(st.tuples(METERS, UUIDS), max_size=6)):
        if not any(_same(meter, text, other, theirs) for other, theirs in held.items()):
            held.setdefault(meter, text)
    wanted = draw(st.lists(st.builds(_account, METERS, UUIDS | st.just("nonsense")), max_size=8))
    return held, wanted


def _account(meter: Meter, text: str) -> Account:
    return Account(user=meter.user, endpoint=meter.endpoint, uuid=text)


def _roll(held: dict[Meter, str]) -> accounts.Roll:
    return accounts.Roll(ENDPOINTS, [_account(meter, text) for meter, text in held.items()])


def _same(one: Meter, text: str, other: Meter, theirs: str) -> bool:
    """Whether Xray would take these for one account: it looks at neither the seventh nor the eighth byte."""
    mask = ~(0xFFFF << 64)
    return one.endpoint == other.endpoint and uuid.UUID(text).int & mask == uuid.UUID(theirs).int & mask


@given(situations())
def test_a_plan_never_leads_to_two_accounts_xray_takes_for_one(
    situation: tuple[dict[Meter, str], list[Account]],
) -> None:
    held, wanted = situation
    plan = accounts.plan(_roll(held), wanted)
    after = {meter: text for meter, text in held.items() if meter not in plan.remove}
    for account, _ in plan.add.values():  # in any order: nobody may be in the way at any step
        meter = Meter(account.user, account.endpoint)
        assert not any(m != meter and _same(meter, account.uuid, m, t) for m, t in after.items())
        assert after.get(meter, account.uuid) == account.uuid
        after[meter] = account.uuid


@given(situations())
def test_a_plan_answers_for_everybody_who_was_wanted(
    situation: tuple[dict[Meter, str], list[Account]],
) -> None:
    held, wanted = situation
    plan = accounts.plan(_roll(held), wanted)
    added = plan.add.keys()
    assert added | plan.refused.keys() == {Meter(account.user, account.endpoint) for account in wanted}
    assert not added & plan.refused.keys()
    assert set(plan.remove) <= added & held.keys()


@given(situations())
def test_who_is_held_already_is_never_refused(situation: tuple[dict[Meter, str], list[Account]]) -> None:
    held, _ = situation
    again = [_account(meter, text.upper()) for meter, text in held.items()]
    plan = accounts.plan(_roll(held), again)
    assert (plan.refused, plan.remove) == ({}, ())


def _options(**changed: object) -> options.Options:
    plain = {"run_dir": Path("/run/x"), "lock_file": Path("/run/lock")}
    return options.Options(**(plain | changed))  # type: ignore[arg-type]  # what a test changes is its own matter


def test_private_targets_stay_closed_unless_the_operator_opens_them() -> None:
    closed = config.text(Served(), _options(), bytes(32))
    opened = config.text(Served(), _options(allow_private_targets=True), bytes(32))
    assert "finalRules" not in closed
    assert '"finalRules": [{"action": "allow"}]' in opened


def test_the_configuration_keeps_no_access_log_and_reports_connections() -> None:
    text = config.text(Served(), _options(), bytes(32))
    assert '"access": "none"' in text
    assert '"url": "/run/x/webhook.sock:/connection"' in text


def test_two_endpoints_cannot_have_one_port() -> None:
    twins = {key: Endpoint(endpoint=key, protocol="vless", port=443) for key in map(EndpointId, (1, 2))}
    assert checks.problems(twins) == ["endpoint 2: the port 443 is already that of endpoint 1"]


def test_endpoints_come_back_from_what_the_host_keeps() -> None:
    for place in config.places(ENDPOINTS):
        assert cores.recognised(place, ENDPOINTS) == ENDPOINTS[EndpointId(place.endpoint)]


def test_an_endpoint_that_changed_is_not_taken_for_the_one_that_runs() -> None:
    for place in config.places(ENDPOINTS):
        changed = {
            key: msgspec.structs.replace(one, extra={"sniffing": {}}) for key, one in ENDPOINTS.items()
        }
        assert cores.recognised(place, changed) not in [*changed.values(), *ENDPOINTS.values()]
        assert cores.recognised(place._replace(fingerprint=""), ENDPOINTS) not in ENDPOINTS.values()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"run_dir": Path("/" + "x" * 94)}, "1 bytes too long"),
        ({"run_dir": Path("run")}, "absolute"),
        ({"lock_file": Path("lock")}, "absolute"),
        ({"run_dir": Path("/run/a:b")}, "colon"),
        ({"run_dir": Path("/run/a,b")}, "comma"),
        ({"fence_s": 0.0}, "fence"),
    ],
)
def test_options_that_could_not_work_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        _options(**changed)


def test_the_longest_usable_run_directory_is_accepted() -> None:
    assert len(str(_options(run_dir=Path("/" + "x" * 93)).control)) == 107


def read(known: counters.Counters, found: dict[str, int]) -> counting.Counts:
    """As Xray answers when it is asked for each direction."""
    for direction in counters.DIRECTIONS:
        asked = counters.pattern(direction)
        known.take(direction, [pb.Stat(name=n, value=v) for n, v in found.items() if asked in n])
    return known.counts


def test_counters_become_meters_and_foreign_ones_are_ignored() -> None:
    found = {
        "user>>>u1-e2>>>traffic>>>uplink": 5,
        "user>>>u1-e2>>>traffic>>>downlink": 7,
        "user>>>u3-e1>>>traffic>>>downlink": 9,
        "user>>>alice>>>traffic>>>uplink": 1,
        "user>>>u4-e1>>>traffic>>>sidelink": 1,
        "user>>>u5-e1>>>weather>>>uplink": 1,
        "user>>>u6-e1": 1,
        "user>>>u7-e1>>>traffic>>>uplink>>>more": 1,
        "nonsense": 1,
    }
    known = counters.Counters()
    assert read(known, found) == {
        Meter(UserId(1), EndpointId(2)): counting.Count(5, 7),
        Meter(UserId(3), EndpointId(1)): counting.Count(0, 9),
    }
    more = {"user>>>u1-e2>>>traffic>>>uplink>>>more": 6, "inbound>>>u1-e2>>>traffic>>>uplink": 6}
    assert read(known, more) == read(known, {})


@given(st.lists(st.dictionaries(st.tuples(METERS, st.booleans()), st.integers(0, 9)), max_size=5))
def test_a_reading_holds_what_its_counters_hold_whatever_was_read_before(
    readings: list[dict[tuple[Meter, bool], int]],
) -> None:
    known, held = counters.Counters(), dict[Meter, counting.Count]()
    made: list[tuple[counting.Counts, dict[Meter, counting.Count]]] = []
    for reading in readings:
        found = {
            f"user>>>{labels.email(*meter)}>>>traffic>>>{'down' if down else 'up'}link": value
            for (meter, down), value in reading.items()
        }
        for (meter, down), value in reading.items():
            before = held.get(meter, counting.Count(0, 0))
            held[meter] = before._replace(**{"down" if down else "up": value})
        made.append((read(known, {"user>>>bob>>>traffic>>>uplink": 1, **found}), dict(held)))
    for counts, wanted in made:
        assert counts == wanted
        assert set(counts) == wanted.keys()
        assert len(counts) == len(wanted)


@given(st.lists(st.dictionaries(METERS, st.integers(0, 9)), min_size=2, max_size=5))
def test_what_has_changed_since_a_reading_is_what_differs(readings: list[dict[Meter, int]]) -> None:
    known = counters.Counters()
    made = [
        read(
            known, {f"user>>>{labels.email(*meter)}>>>traffic>>>uplink": up for meter, up in reading.items()}
        )
        for reading in readings
    ]
    for first, second in itertools.combinations(made, 2):
        changed = {meter: counting.Count(up, down) for meter, up, down in counting.rows(second, first)}
        assert changed == {meter: count for meter, count in second.items() if first.get(meter) != count}
    other = counters.Counters().counts
    assert dict(made[-1]) == {m: counting.Count(u, d) for m, u, d in counting.rows(made[-1], other)}


def test_what_cannot_be_done_is_said_beforehand() -> None:
    assert list(guard.powerless(None, None)) == []
    missing = "the capability CAP_NET_ADMIN is missing"
    said = list(guard.powerless(missing, None)) + list(guard.powerless(None, missing))
    assert len(said) == 2
    assert all(missing in sentence for sentence in said)
    assert "Splicing is on" in guard.Guard(_options(splice=True)).limitations({})[-1]


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 400), max_size=30))
def test_requests_are_found_whole_whatever_the_pieces(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(
        b"POST /connection HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        for body in bodies
    )
    inbox, found = bytearray(), []
    for size in [*cuts, len(stream)]:
        piece, stream = stream[:size], stream[size:]
        inbox += piece
        found += webhook.split(inbox)
    inbox += stream
    assert [*found, *webhook.split(inbox)] == bodies
    assert not inbox


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_request_or_malformed_or_not_complete(data: bytes) -> None:
    inbox = bytearray(data)
    try:
        bodies = webhook.split(inbox)
    except webhook.MalformedError:
        return
    assert sum(map(len, bodies)) + len(inbox) <= len(data)


@given(st.binary(max_size=200))
def test_any_body_is_an_event_or_none(data: bytes) -> None:
    assert webhook.event(data) is None or data.startswith(b"{")


def test_an_event_of_xray_is_understood() -> None:
    body = (
        b'{"email":"u1-e2","level":0,"protocol":"","network":"tcp","source":"[2001:db8::1]:4711",'
        b'"destination":"example.org:443","inboundTag":"e2","outboundTag":"direct","ts":1}'
    )
    assert webhook.event(body) == webhook.Event("u1-e2", sockets.peer("2001:db8::1", 4711))
    on_udp = webhook.event(body.replace(b'"tcp"', b'"udp"'))
    assert on_udp is not None
    assert on_udp.datagrams


@given(st.ip_addresses(v=4), st.integers(0, 65_535))
def test_a_client_has_one_spelling_on_either_kind_of_listener(
    address: ipaddress.IPv4Address, port: int
) -> None:
    plain = sockets.peer(str(address), port)
    assert plain == sockets.peer(f"::ffff:{address}", port)
    assert sockets.address(plain) == address.packed


@given(st.binary(max_size=400))
def test_any_bytes_from_the_kernel_are_read_without_error(data: bytes) -> None:
    for _, body in sockets.messages(data):
        if body:
            sockets.parse(body)


@given(PEERS, st.integers(1, 11), st.binary(min_size=8, max_size=8))
def test_a_socket_is_read_as_the_kernel_wrote_it(peer: sockets.Peer, state: int, cookie: bytes) -> None:
    raw = sockets.address(peer)
    family = 2 if len(raw) == 4 else 10
    identity = b"\x01\xbb" + peer[-2:] + bytes(16) + raw.ljust(16, b"\0") + bytes(4) + cookie
    body = bytes([family, state, 0, 0]) + identity + bytes(20)
    header = (16 + len(body)).to_bytes(4, "little") + b"\x14\0" + bytes(10)
    ((kind, found),) = sockets.messages(header + body)
    assert kind == 20
    assert sockets.parse(found) == sockets.Socket(family, state, identity, peer)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 5), st.booleans()), max_size=40)
)
def test_the_register_is_what_a_plain_table_would_be(steps: Sequence[tuple[int, int, int, bool]]) -> None:
    kept = register.Register()
    table: dict[tuple[int, sockets.Peer], str] = {}
    for user, endpoint, port, prune in steps:
        peer = sockets.peer("192.0.2.1", port)
        if prune:
            kept.prune(EndpointId(endpoint), {peer})
            table = {key: email for key, email in table.items() if key[0] != endpoint or key[1] == peer}
        else:
            email = labels.email(UserId(user), EndpointId(endpoint))
            assert kept.note(email, peer)
            table[endpoint, peer] = email
    assert len(kept) == len(table)
    assert {(email, peer) for email, peers in kept.everything().items() for peer in peers} == {
        (email, peer) for (_, peer), email in table.items()
    }
    assert all(kept.everything().values())


@given(st.ip_addresses())
def test_no_address_gets_into_a_reason(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    line = f"2026/11/21 21:29:41.610356 [Warning] from {address}:443 and [{address}]:80 refused"
    assert str(address) not in output.reason(1, line)


def test_a_reason_has_the_status_its_meaning_and_the_telling_lines() -> None:
    assert (
        output.reason(23, "") == "Xray ended with status 23 (it refused its configuration); it said nothing"
    )
    assert output.reason(-9, " \n") == "Xray was ended by signal 9; it said nothing"
    panic = "Xray 26.1.1 started\npanic: all is lost\ngoroutine 1\nmain.go:1\nmain.go:2\nmain.go:3"
    assert output.reason(2, panic) == "Xray ended with status 2; its last words: panic: all is lost"
    assert output.reason(None, "a\nb\nc\nd") == "Xray ended; its last words: b / c / d"
    assert output.version("[Warning] core: Xray 26.10.10 started") == "26.10.10"
    assert output.version("nothing") is None
