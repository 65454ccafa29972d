"""Addresses in tunnels: given out once, rested before somebody else has them, found fast, on both engines."""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.domain import addressing as rules
from collector.domain.wireguard import Keys, Peer, Tunnelled
from collector.store import addressing, wireguard
from collector.store.database import Database
from collector.store.session import Session
from shared.names import EndpointId, UserId
from tests.kit.stores import Store

REST_MS = 1_000
_HERE = EndpointId(1)
_INTERFACE = "10.66.0.1/28"
_FREE = 13

#: A user is given the next address, asks for one by its place, gives his back, or time passes.
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("give"), st.integers(1, 20)),
        st.tuples(st.just("fix"), st.integers(0, 15)),
        st.tuples(st.just("release"), st.integers(1, 20)),
        st.tuples(st.just("wait"), st.integers(1, REST_MS)),
    ),
    max_size=60,
)


@pytest.fixture
def db(store: Store) -> Iterator[Database]:
    opened = store.open()
    yield opened
    opened.close()


@dataclass
class _Books:
    """Who has which address, and who had it until when, kept apart from the store."""

    session: Session
    pool: rules.Pool
    now_ms: int = 10 * REST_MS
    live: dict[int, str] = field(default_factory=dict)
    rested_ms: dict[str, int] = field(default_factory=dict)

    def free(self) -> set[str]:
        """What may be given out now."""
        resting = {text for text, at_ms in self.rested_ms.items() if at_ms > self.now_ms - REST_MS}
        every = {str(one) for one in self.pool.network.hosts() if one not in self.pool.own}
        return every - resting - set(self.live.values())

    def step(self, what: str, number: int) -> None:
        """Do it in the store, and hold what came of it to the books."""
        addressing.forget_rested(self.session, _HERE, self.now_ms - REST_MS)
        if what == "wait":
            self.now_ms += number
        elif what == "release" and self.live:
            given_back = self.live.pop(sorted(self.live)[number % len(self.live)])
            addressing.release(self.session, _HERE, [given_back], self.now_ms)
            self.rested_ms[given_back] = self.now_ms
        elif what == "give" and number not in self.live:
            text = addressing.following(self.session, _HERE, [self.pool])
            assert (text is None) == (not self.free())
            self._taken(number, text, fixed=False)
        elif what == "fix":
            asked = str(self.pool.network[number])
            is_free = addressing.holder(self.session, _HERE, asked) is None
            if rules.wrong(asked, self.pool.version, [self.pool]) is None:
                assert is_free == (asked in self.free())
                self._taken(100 + number, asked if is_free else None, fixed=True)

    def _taken(self, user: int, text: str | None, *, fixed: bool) -> None:
        if text is not None:
            assert text in self.free()
            addressing.take(self.session, UserId(user), _HERE, Tunnelled(text, fixed))
            self.live[user] = text


def test_no_address_is_anothers_or_was_lately_whatever_is_given_and_released(db: Database) -> None:
    @settings(max_examples=150, deadline=None)
    @given(_STEPS)
    def check(steps: list[tuple[str, int]]) -> None:
        db.write_now(run, steps)

    def run(session: Session, steps: list[tuple[str, int]]) -> None:
        addressing.remove(session, _HERE)
        books = _Books(session, rules.pools([_INTERFACE])[0])
        for what, number in steps:
            books.step(what, number)
        stored = {
            one.text: user
            for user in {*range(1, 21), *range(100, 120)}
            for one in addressing.of_user(session, UserId(user)).get(_HERE, {}).values()
        }
        assert stored == {text: user for user, text in books.live.items()}

    check()


def test_every_address_of_a_network_is_given_out_before_it_is_exhausted(db: Database) -> None:
    def run(session: Session) -> list[str | None]:
        pool = rules.pools([_INTERFACE])[0]
        given = []
        for user in range(_FREE + 1):
            given.append(addressing.following(session, _HERE, [pool]))
            if text := given[-1]:
                addressing.take(session, UserId(user), _HERE, Tunnelled(text))
        return given

    *given, last = db.write_now(run)
    assert given == [f"10.66.0.{number}" for number in range(2, 15)]
    assert last is None


def test_an_interface_with_two_networks_gives_the_second_when_the_first_is_full(db: Database) -> None:
    def run(session: Session) -> list[str | None]:
        pools = rules.pools(["10.66.0.1/30", "10.77.0.1/30", "10.88.0.1/30"])
        given = []
        for user in range(4):
            given.append(addressing.following(session, _HERE, pools))
            if text := given[-1]:
                addressing.take(session, UserId(user), _HERE, Tunnelled(text))
        return given

    assert db.write_now(run) == ["10.66.0.2", "10.77.0.2", "10.88.0.2", None]


def test_an_address_rests_as_long_as_others_are_left(db: Database) -> None:
    def run(session: Session) -> list[str | None]:
        pool = rules.pools([_INTERFACE])[0]
        given = []
        for user in range(_FREE + 2):
            addressing.forget_rested(session, _HERE, 10**15)
            given.append(addressing.following(session, _HERE, [pool]))
            addressing.take(session, UserId(user), _HERE, Tunnelled(given[-1] or ""))
            addressing.release(session, _HERE, [given[-1] or ""], 1)
        return given

    given = db.write_now(run)
    assert len(set(given)) == _FREE
    assert given[_FREE:] == given[:2]


@pytest.mark.parametrize("interface", ["10.66.0.1/16", "fd00::1/64"])
def test_the_next_address_is_found_fast_among_60_000(
    db: Database, interface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = rules.pools([interface])[0]
    columns = ("endpoint_id", "address", "version", "number", "user_id", "fixed")
    numbers = [pool.first + place for place in range(1, 60_001)]
    # A few were given back somewhere below, and the last one given out lies before the taken ones.
    gaps = {pool.first + 40_000, pool.first + 41_000}
    rows = [
        (_HERE, str(pool.address(number)), pool.version, number, 1, False)
        for number in numbers
        if number not in gaps
    ]
    read: list[object] = []
    original = Session.rows

    def counted(session: Session, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        found = original(session, sql, parameters)
        read.extend(found)
        return found

    def run(session: Session) -> list[str | None]:
        given = []
        for user in range(500):
            given.append(addressing.following(session, _HERE, [pool]))
            addressing.take(session, UserId(2 + user), _HERE, Tunnelled(given[-1] or ""))
        return given

    db.write_now(lambda session: session.insert_many("wireguard_address", columns, rows))
    monkeypatch.setattr(Session, "rows", counted)
    given = db.write_now(run)
    assert given[:2] == [str(pool.address(number)) for number in sorted(gaps)]
    assert given[2] == str(pool.address(pool.first + 60_001))
    assert len(set(given)) == 500
    # What is taken is walked along once; after that every search ends where it begins.
    assert len(read) < 60_000 + 500 * 20


def test_the_database_itself_refuses_a_second_holder_of_an_address(db: Database) -> None:
    db.write_now(addressing.take, UserId(1), _HERE, Tunnelled("10.66.0.2"))
    with pytest.raises(peewee.IntegrityError):
        db.write_now(addressing.take, UserId(2), _HERE, Tunnelled("10.66.0.2"))
    db.write_now(addressing.release, _HERE, ["10.66.0.2"], 5)
    with pytest.raises(peewee.IntegrityError):
        db.write_now(addressing.take, UserId(2), _HERE, Tunnelled("10.66.0.2"))
    db.write_now(addressing.take, UserId(2), EndpointId(2), Tunnelled("10.66.0.2"))
    # What was his own he may have again.
    db.write_now(addressing.take, UserId(1), _HERE, Tunnelled("10.66.0.2", fixed=True))
    found = db.read_now(addressing.of_user, UserId(1))
    assert found == {_HERE: {rules.Version.V4: Tunnelled("10.66.0.2", fixed=True)}}


def test_the_database_itself_refuses_a_public_key_twice_on_an_endpoint(db: Database) -> None:
    keys = Keys(public="k", private=None, preshared="p")
    db.write_now(wireguard.save_keys, Peer(user=UserId(1), endpoint=_HERE, keys=keys, addresses={}))
    with pytest.raises(peewee.IntegrityError):
        db.write_now(wireguard.save_keys, Peer(user=UserId(2), endpoint=_HERE, keys=keys, addresses={}))
    other = EndpointId(2)
    db.write_now(wireguard.save_keys, Peer(user=UserId(2), endpoint=other, keys=keys, addresses={}))


def test_any_address_of_version_6_can_be_held(db: Database) -> None:
    text = str(ipaddress.ip_address(2**128 - 2))
    db.write_now(addressing.take, UserId(1), _HERE, Tunnelled(text, fixed=True))
    assert db.read_now(addressing.holder, _HERE, text) == (1, None)
