"""Whatever happens to peers, a user is billed what passed for him: not less, not more, never negative."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.core.counting import Count, Meter
from agent.drivers.wireguard import books, register
from agent.drivers.wireguard.peers import Change
from shared import endpoints
from shared.messages import Account
from tests.agent.drivers.wireguard.memory import Bench
from tests.kit import wireguard

USERS = tuple(wireguard.user(number) for number in (2, 3, 4))
SPARE = tuple(wireguard.any_key() for _ in USERS)


class Act(NamedTuple):
    what: str
    user: int = 0
    up: int = 0
    down: int = 0


_USER = st.integers(0, len(USERS) - 1)
_BYTES = st.integers(0, 1000)
ACTS = st.one_of(
    st.builds(Act, st.just("traffic"), _USER, _BYTES, _BYTES),
    st.builds(Act, st.sampled_from(["add", "cut", "rekey", "foreign_removal", "lend_key"]), _USER),
    st.builds(Act, st.sampled_from(["read", "adopt"])),
)


class World:
    """A bench and the truth about what passed."""

    def __init__(self, path: Path, keep_blocked: int) -> None:
        self.bench = Bench(path, keep_blocked=keep_blocked)
        self.accounts = [user.account() for user in USERS]
        self.truth = {user.meter: Count(0, 0) for user in USERS}
        self.before: dict[Meter, Count] = {}

    def act(self, act: Act) -> None:
        getattr(self, f"_{act.what}")(act)
        if act.what != "traffic":
            self.check()

    def check(self) -> None:
        counts = self.bench.interface.reading().counts
        for meter, before in self.before.items():
            assert counts[meter].up >= before.up
            assert counts[meter].down >= before.down
        for meter, truth in self.truth.items():
            assert counts.get(meter, Count(0, 0)) == truth
        self.before = dict(counts)

    def _traffic(self, act: Act) -> None:
        account = self.accounts[act.user]
        meter = USERS[act.user].meter
        if self._serves(meter, account):
            assert self.bench.device.carry(_key(account), act.up, act.down)
            had = self.truth[meter]
            self.truth[meter] = Count(had.up + act.up, had.down + act.down)
        elif not self._is_served(_key(account)):
            self.bench.device.carry(_key(account), act.up, 0)

    def _is_served(self, key: str) -> bool:
        """Whether somebody has this key, if not the user who once had it."""
        return key in self.bench.device.peers and bool(self.bench.device.peers[key].allowed)

    def _serves(self, meter: Meter, account: Account) -> bool:
        return self._is_served(_key(account)) and meter in self.bench.interface.everybody()

    def _add(self, act: Act) -> None:
        self.bench.interface.add([self.accounts[act.user]])

    def _cut(self, act: Act) -> None:
        meter = USERS[act.user].meter
        self.bench.interface.block([meter])
        self.bench.interface.reading()
        self.bench.interface.tidy([meter])

    def _rekey(self, act: Act) -> None:
        self._give(act.user, wireguard.any_key())

    def _lend_key(self, act: Act) -> None:
        """One of two users gets a key that the other one has, or had."""
        self._give(act.user, SPARE[act.user // 2])

    def _give(self, user: int, key: str) -> None:
        account = self.accounts[user]
        assert account.peer is not None
        peer = msgspec.structs.replace(account.peer, public_key=key)
        self.check()
        changed = msgspec.structs.replace(account, peer=peer)
        if not self.bench.interface.add([changed]):
            self.accounts[user] = changed

    def _foreign_removal(self, act: Act) -> None:
        self.check()
        self.bench.device.apply([Change(_key(self.accounts[act.user]), remove=True)])

    def _read(self, act: Act) -> None:
        del act
        self.bench.interface.reading()

    def _adopt(self, act: Act) -> None:
        del act
        self.check()
        self.bench.interface.accounts()
        self.check()
        self.bench.adopt()


@settings(max_examples=200, deadline=None)
@given(st.lists(ACTS, max_size=25), st.sampled_from([0, 1, 100]))
@example(
    [Act("add"), Act("traffic", 0, 9, 9), Act("cut"), Act("traffic", 0, 5, 0), Act("adopt"), Act("add")], 100
)
@example([Act("add"), Act("traffic", 0, 9, 9), Act("rekey"), Act("traffic", 0, 99, 99)], 100)
def test_every_byte_that_passed_is_counted_once_and_no_other(acts: list[Act], keep_blocked: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory) / f"tg1{register.SUFFIX}", keep_blocked)
        for act in acts:
            world.act(act)
        world.check()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / f"tg1{register.SUFFIX}")


def test_only_what_differs_is_changed(bench: Bench) -> None:
    bench.interface.add([user.account() for user in USERS])
    bench.device.applied.clear()
    served = {user.meter: user.account() for user in USERS[:2]}
    assert bench.interface.make_exact(served) == {}
    assert [(one.key, one.allowed) for one in bench.device.applied] == [(USERS[2].keys.public, ())]


def test_an_address_is_taken_from_its_old_owner_before_the_new_one_gets_it(bench: Bench) -> None:
    one, two = USERS[:2]
    bench.interface.add([one.account(), two.account()])
    bench.device.applied.clear()
    swapped = [_moved(one.account(), two.addresses), _moved(two.account(), one.addresses)]
    assert bench.interface.add(swapped) == {}
    first = [(change.key, change.allowed) for change in bench.device.applied[:2]]
    assert first == [(one.keys.public, ()), (two.keys.public, ())]
    assert set(bench.device.peers[one.keys.public].allowed) == {"10.66.0.3/32", "fd66::3/128"}


def test_a_key_and_an_address_of_somebody_who_is_served_are_refused(bench: Bench) -> None:
    one, two = USERS[:2]
    bench.interface.add([one.account()])
    stolen = msgspec.structs.replace(two.account(), peer=one.account().peer)
    assert bench.interface.add([stolen]) == {two.meter: "its public key is that of user 2"}
    refused = bench.interface.add([_moved(two.account(), one.addresses)])
    assert refused == {two.meter: "its address 10.66.0.2 in the tunnel is that of user 2"}
    assert list(bench.device.peers) == [one.keys.public]


def test_a_blocked_user_s_addresses_are_free_for_others_and_he_gets_them_back_only_when_they_are(
    bench: Bench,
) -> None:
    one, two = USERS[:2]
    bench.interface.add([one.account()])
    bench.interface.block([one.meter])
    assert bench.interface.add([_moved(two.account(), one.addresses)]) == {}
    assert one.meter in bench.interface.add([one.account()])


def test_who_was_let_in_by_somebody_else_is_put_out(bench: Bench) -> None:
    one, two = USERS[:2]
    stranger = wireguard.any_key()
    bench.interface.add([one.account(), two.account()])
    bench.interface.block([two.meter])
    bench.device.apply([Change(stranger, ("10.66.9.9/32",)), Change(two.keys.public, ("10.66.0.3/32",))])
    assert set(bench.interface.accounts()) == {one.meter}
    assert stranger not in bench.device.peers
    assert bench.device.peers[two.keys.public].allowed == ()


def test_what_somebody_else_has_changed_shows(bench: Bench) -> None:
    one = USERS[0]
    bench.interface.add([one.account()])
    bench.device.apply([Change(one.keys.public, preshared="")])
    told = bench.interface.accounts()[one.meter]
    assert told.peer is None
    assert bench.interface.add([one.account()]) == {}
    assert bench.interface.accounts()[one.meter].peer == one.account().peer


def test_the_blocked_longest_ago_are_removed_when_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / f"tg1{register.SUFFIX}", keep_blocked=1)
    bench.interface.add([user.account() for user in USERS])
    for user in USERS:
        bench.device.carry(user.keys.public, 7, 7)
        bench.interface.block([user.meter])
    bench.interface.reading()
    bench.interface.tidy([user.meter for user in USERS])
    assert len(bench.device.peers) == 3  # packets under way are still waited for
    monkeypatch.setattr(books, "DRAIN_S", 0.0)
    bench.interface.reading()
    bench.interface.tidy([])
    assert list(bench.device.peers) == [USERS[2].keys.public]
    assert bench.interface.reading().counts == {user.meter: Count(7, 7) for user in USERS}


def test_the_register_has_no_secret_and_survives_a_line_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / f"tg1{register.SUFFIX}"
    bench = Bench(path)
    one = USERS[0]
    limited = one.account(endpoints.Rate(down_kbps=1000))
    bench.interface.add([msgspec.structs.replace(limited, rate=None)])
    text = path.read_text()
    assert one.preshared is not None
    assert one.preshared not in text
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("a") as file:
        file.write('["p","half a li')
    bench.adopt()
    assert set(bench.interface.accounts()) == {one.meter}
    assert bench.interface.accounts()[one.meter].peer == one.account().peer


def test_the_next_agent_knows_who_is_served_as_expected_however_it_is_spelt(bench: Bench) -> None:
    one, two = USERS[:2]
    bench.interface.add([one.account(), two.account()])
    bench.adopt()
    spelt = _moved(one.account(), ("10.66.0.2", "FD66:0::0002"))
    other = _moved(two.account(), ("10.66.0.77",))
    bench.interface.recognise({one.meter: spelt, two.meter: other})
    told = bench.interface.accounts()
    assert told == {one.meter: books.normal(spelt), two.meter: books.normal(two.account())}


def test_a_disk_that_is_full_stops_nobody_and_is_made_up_for(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    one, two = USERS[:2]
    with monkeypatch.context() as patched:
        patched.setattr(register, "_opened", full)
        assert bench.interface.add([one.account()]) == {}
    assert bench.interface.add([two.account()]) == {}
    bench.adopt()
    assert set(bench.interface.accounts()) == {one.meter, two.meter}
    assert tmp_path.exists()


def test_a_register_of_another_format_is_no_register(tmp_path: Path) -> None:
    path = tmp_path / f"tg1{register.SUFFIX}"
    for text in ("", "{}\n", '{"is":"run","version":2}\n', "\xff"):
        path.write_text(text)
        assert register.run_of(path) is None
    assert register.run_of(tmp_path / "none") is None


def _key(account: Account) -> str:
    assert account.peer is not None
    return account.peer.public_key


def _moved(account: Account, addresses: tuple[str, ...]) -> Account:
    assert account.peer is not None
    return msgspec.structs.replace(account, peer=msgspec.structs.replace(account.peer, addresses=addresses))
