"""States are taken in order only, the stopped stay stopped, and a plan leads to what is wanted."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent.core import plan
from agent.core.counting import Meter
from agent.core.served import Served
from shared.endpoints import Rate
from shared.messages import Account, DesiredState, Endpoint, Item
from shared.names import EndpointId, UserId, account_key, endpoint_key

ONE = EndpointId(1)
ALICE, BOB = UserId(1), UserId(2)


def endpoint(number: int = 1, port: int = 443, generation: int = 1) -> Item:
    body = Endpoint(endpoint=EndpointId(number), protocol="vless", port=port)
    return Item(key=endpoint_key(body.endpoint), generation=generation, body=body)


def account(user: int, on: int = 1, uuid: str = "u", generation: int = 1) -> Item:
    body = Account(user=UserId(user), endpoint=EndpointId(on), uuid=f"{uuid}{user}")
    return Item(key=account_key(body.user, body.endpoint), generation=generation, body=body)


def gone(item: Item, generation: int) -> Item:
    return Item(key=item.key, generation=generation)


def state(generation: int, *items: Item, full: bool = False) -> DesiredState:
    return DesiredState(generation=generation, full=full, items=list(items))


def taken(held: plan.Holding, *states: DesiredState) -> plan.Holding:
    for each in states:
        after = plan.receive(held, each)
        assert isinstance(after, plan.Holding), after
        held = after
    return held


HELD = taken(plan.Holding(), state(5, endpoint(), account(1), account(2), full=True))


def served(held: plan.Holding) -> Served:
    return plan.wanted(held, {}, Served()).served


def users(held: plan.Holding) -> set[UserId]:
    return {meter.user for meter in served(held).accounts}


def test_a_difference_is_merged() -> None:
    held = taken(HELD, state(6, gone(account(1), 6), account(3, generation=6)))
    assert users(held) == {2, 3}
    assert held.generation == 6


def test_an_empty_answer_changes_nothing() -> None:
    assert plan.receive(HELD, state(5)) == HELD


def test_an_older_generation_is_refused() -> None:
    assert isinstance(plan.receive(HELD, state(4, account(3, generation=4))), plan.Outdated)


def test_other_content_under_the_same_generation_is_refused() -> None:
    for item in (account(1, uuid="other"), gone(account(1), 5), account(9, generation=5)):
        assert isinstance(plan.receive(HELD, state(5, item)), plan.Outdated)


def test_an_item_that_changed_without_a_new_generation_is_refused() -> None:
    assert isinstance(plan.receive(HELD, state(6, account(1, uuid="other"))), plan.Outdated)


def test_an_item_older_than_the_held_one_is_refused() -> None:
    held = taken(HELD, state(7, account(1, uuid="new", generation=7)))
    assert isinstance(plan.receive(held, state(8, account(1, generation=6))), plan.Outdated)


def test_a_full_state_replaces_everything_even_with_an_older_generation() -> None:
    held = taken(HELD, state(2, endpoint(), account(7), full=True))
    assert users(held) == {7}
    assert held.generation == 2


def test_a_stopped_user_is_not_wanted_and_his_neighbour_is() -> None:
    assert users(plan.stop(HELD, [ALICE], 5)) == {BOB}


def test_a_stopped_user_stays_stopped_when_a_full_state_arrives_late() -> None:
    held = taken(plan.stop(HELD, [ALICE], 5), state(5, endpoint(), account(1), account(2), full=True))
    assert users(held) == {BOB}


def test_a_stopped_user_is_wanted_again_when_a_younger_item_says_so() -> None:
    held = taken(
        plan.stop(HELD, [ALICE], 5), state(6, gone(account(1), 6)), state(7, account(1, generation=7))
    )
    assert users(held) == {ALICE, BOB}
    assert not held.stopped


def test_a_late_word_does_not_stop_a_user_who_was_allowed_again_meanwhile() -> None:
    held = taken(HELD, state(6, gone(account(1), 6)), state(7, account(1, generation=7)))
    assert users(plan.stop(held, [ALICE], 5)) == {ALICE, BOB}


def test_a_collector_that_went_back_decides_anew_whom_to_stop() -> None:
    held = taken(plan.stop(HELD, [ALICE], 5), state(3, endpoint(), account(1), full=True))
    assert users(held) == {ALICE}


def test_a_revoked_node_serves_nobody_and_forgets_nothing() -> None:
    held = plan.Holding(generation=5, items=HELD.items, revoked=True)
    assert served(held) == Served()
    assert held.items == HELD.items


def test_an_account_without_its_endpoint_is_left_out_with_the_reason() -> None:
    held = taken(plan.Holding(), state(1, endpoint(), account(1, on=2), full=True))
    wanted = plan.wanted(held, {}, Served())
    assert wanted.served.accounts == {}
    assert wanted.failures == {"account/1/2": "endpoint 2 is not served by this node"}


def test_a_refused_endpoint_goes_on_as_it_ran_before() -> None:
    running = served(HELD)
    held = taken(HELD, state(6, endpoint(port=80, generation=6)))
    busy = Endpoint(endpoint=ONE, protocol="vless", port=80)
    wanted = plan.wanted(held, {ONE: plan.RefusedEndpoint(busy, "port 80 is taken")}, running)
    assert wanted.served == running
    assert wanted.failures == {"endpoint/1": "port 80 is taken"}


def test_a_refused_endpoint_is_tried_again_when_it_changes() -> None:
    busy = Endpoint(endpoint=ONE, protocol="vless", port=80)
    held = taken(HELD, state(6, endpoint(port=81, generation=6)))
    wanted = plan.wanted(held, {ONE: plan.RefusedEndpoint(busy, "port 80 is taken")}, Served())
    assert wanted.served.endpoints[ONE].port == 81
    assert not wanted.failures


def test_a_changed_credential_leaves_and_joins() -> None:
    held = taken(HELD, state(6, account(1, uuid="new", generation=6)))
    steps = plan.difference(served(held), served(HELD))
    assert steps.leaving == (Meter(ALICE, ONE),)
    assert [a.uuid for a in steps.joining] == ["new1"]
    assert (steps.closing, steps.opening) == ((), ())


def test_another_speed_joins_and_ends_no_connection() -> None:
    running = served(HELD)
    meter = Meter(ALICE, ONE)
    slower = msgspec.structs.replace(running.accounts[meter], rate=Rate(down_kbps=1000))
    steps = plan.difference(Served(running.endpoints, {**running.accounts, meter: slower}), running)
    assert (steps.leaving, steps.joining) == ((), (slower,))
    renewed = msgspec.structs.replace(slower, uuid="other")
    steps = plan.difference(Served(running.endpoints, {**running.accounts, meter: renewed}), running)
    assert (steps.leaving, steps.joining) == ((meter,), (renewed,))


def test_a_core_of_wireguard_knows_no_uuid() -> None:
    tunnel = Endpoint(endpoint=ONE, protocol="wireguard", port=51820)
    held = taken(
        plan.Holding(),
        state(1, Item(key=endpoint_key(ONE), generation=1, body=tunnel), account(1), full=True),
    )
    renewed = taken(held, state(2, account(1, uuid="other", generation=2)))
    assert served(held).accounts[Meter(ALICE, ONE)].uuid == ""
    assert served(renewed) == served(held)


def test_a_changed_endpoint_closes_and_opens_and_its_accounts_leave_and_join() -> None:
    held = taken(HELD, state(6, endpoint(port=80, generation=6)))
    steps = plan.difference(served(held), served(HELD))
    assert (steps.closing, [one.port for one in steps.opening]) == ((ONE,), [80])
    assert set(steps.leaving) == set(served(HELD).accounts)
    assert {Meter(a.user, a.endpoint) for a in steps.joining} == set(served(HELD).accounts)


accounts = st.dictionaries(
    st.builds(Meter, st.integers(1, 6).map(UserId), st.just(ONE)), st.sampled_from("abc"), max_size=6
)


@given(accounts, accounts)
def test_leaving_and_then_joining_leads_to_what_is_wanted(
    want: dict[Meter, str], running: dict[Meter, str]
) -> None:
    def as_served(uuids: dict[Meter, str]) -> Served:
        return Served({}, {m: Account(user=m.user, endpoint=m.endpoint, uuid=u) for m, u in uuids.items()})

    steps = plan.difference(as_served(want), as_served(running))
    after = plan.joined(plan.without(as_served(running), steps.leaving), steps.joining)
    assert after == as_served(want)
    untouched = {m for m in want if running.get(m) == want[m]}
    assert not untouched & {*steps.leaving, *(Meter(a.user, a.endpoint) for a in steps.joining)}


@given(st.lists(st.sets(st.integers(1, 5), max_size=5), min_size=1, max_size=6))
def test_differences_lead_to_the_same_holding_as_the_full_state(story: list[set[int]]) -> None:
    held, before = plan.Holding(), set[int]()
    born: dict[int, int] = {}
    for generation, now in enumerate(story, start=1):
        born |= dict.fromkeys(now - before, generation)
        joining = [account(u, generation=generation) for u in now - before]
        held = taken(held, state(generation, *joining, *(gone(account(u), generation) for u in before - now)))
        before = now
    full = state(len(story), *(account(u, generation=born[u]) for u in before), full=True)
    assert taken(held, full) == held
