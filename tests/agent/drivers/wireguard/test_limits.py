"""Speed limits as lines: what goes in comes out again, and nothing else is touched."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.counting import Meter
from agent.drivers.wireguard import limits
from agent.drivers.wireguard.limits import Limit
from shared.names import EndpointId, UserId

_RATES = st.none() | st.integers(1, 10**6)


def meter(user: int) -> Meter:
    return Meter(UserId(user), EndpointId(1))


def _limit(user: int, up: int | None, down: int | None) -> Limit | None:
    addresses = (f"10.66.0.{user}", f"fd66::{user:x}")
    return None if up is None and down is None else Limit(addresses, up, down)


LIMITS = st.dictionaries(st.integers(2, 9), st.tuples(_RATES, _RATES), max_size=5)


class Kernel:
    """Classes and filters as the lines would leave them; a line that tc would refuse is an error."""

    def __init__(self) -> None:
        self.classes: dict[tuple[str, str], int] = {}
        self.filters: dict[tuple[str, str], str] = {}

    def run(self, lines: list[str]) -> None:
        for line in lines:
            device = line.split(" dev ")[1].split()[0]
            what, verb = line.split()[:2]
            if what == "class":
                self._class(verb, device, line)
            elif what == "filter":
                self._filter(verb, device, line)

    def _class(self, verb: str, device: str, line: str) -> None:
        which = (device, line.split("classid ")[1].split(maxsplit=1)[0])
        assert (which in self.classes) == (verb != "add")
        if verb == "del":
            assert which[1] not in [flow for (on, _), flow in self.filters.items() if on == device]
            del self.classes[which]
        else:
            self.classes[which] = int(re.findall(r"rate (\d+)kbit", line)[0])

    def _filter(self, verb: str, device: str, line: str) -> None:
        which = (device, line.split("handle ")[1].split(maxsplit=1)[0])
        assert (which in self.filters) == (verb != "add")
        if verb == "del":
            del self.filters[which]
        else:
            self.filters[which] = line.split("flowid ")[1]


@settings(deadline=None)
@given(st.lists(LIMITS, max_size=8))
def test_after_any_changes_there_is_what_is_wanted_and_nothing_else(
    rounds: list[dict[int, tuple[int | None, int | None]]],
) -> None:
    held, kernel = limits.Limits("tg1", "tg1u"), Kernel()
    wanted: dict[Meter, Limit] = {}
    for one in rounds:
        changes = {meter(user): _limit(user, *rates) for user, rates in one.items()}
        kernel.run(held.change(changes))
        wanted = {m: w for m, w in {**wanted, **changes}.items() if w is not None}
        for device, rates in (
            ("tg1", [limit.down_kbps for limit in wanted.values()]),
            ("tg1u", [limit.up_kbps for limit in wanted.values()]),
        ):
            there = [rate for (on, _), rate in kernel.classes.items() if on == device]
            assert sorted(there) == sorted(rate for rate in rates if rate is not None)
            assert len([on for on, _ in kernel.filters if on == device]) == 2 * len(there)


def test_another_rate_changes_a_class_and_no_filter() -> None:
    held = limits.Limits("tg1", "tg1u")
    held.change({meter(2): Limit(("10.66.0.2",), 1000, 2000)})
    lines = held.change({meter(2): Limit(("10.66.0.2",), 1000, 3000)})
    assert [line.split()[:2] for line in lines] == [["class", "change"], ["class", "change"]]


def test_an_address_that_is_given_on_leaves_before_it_comes() -> None:
    held, kernel = limits.Limits("tg1", "tg1u"), Kernel()
    one, two = Limit(("10.66.0.2",), None, 1000), Limit(("10.66.0.3",), None, 2000)
    kernel.run(held.change({meter(2): one, meter(3): two}))
    kernel.run(held.change({meter(2): one._replace(addresses=two.addresses), meter(3): None}))
    assert list(kernel.classes.values()) == [1000]


def test_addresses_of_one_user_that_end_in_the_same_byte_have_places_of_their_own() -> None:
    held, kernel = limits.Limits("tg1", "tg1u"), Kernel()
    kernel.run(held.change({meter(2): Limit(("10.66.0.7", "10.66.1.7"), None, 1000)}))
    assert len(kernel.filters) == 2
    kernel.run(held.change({meter(2): None}))
    assert not kernel.filters


def test_who_finds_no_room_is_left_out_and_the_others_are_limited() -> None:
    held, kernel = limits.Limits("tg1", "tg1u"), Kernel()
    many: dict[Meter, Limit | None] = {
        meter(n): Limit((f"10.{n >> 8}.{n & 255}.7",), None, 1000) for n in range(5000)
    }
    kernel.run(held.change(many))
    assert len(kernel.classes) == 4095
    assert set(held.left_out.values()) == {
        "at most 4095 limited addresses of an interface may end in the same byte"
    }
    kernel.run(held.change({meter(0): None}))
    kernel.run(held.change({meter(4999): Limit(("10.9.9.7",), None, 1000)}))
    assert (len(kernel.classes), len(held.left_out)) == (4095, 904)
