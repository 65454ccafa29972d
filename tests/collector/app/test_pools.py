"""Managers' limits and leases: whatever nodes do, nobody above a user passes his limit."""

import random
from dataclasses import dataclass, field

import pytest

from collector.app import endpoints, managers, nodes, phases, usage, users
from collector.domain import leases as rules
from collector.domain.endpoints import NewEndpoint
from collector.domain.leases import Bytes
from collector.domain.managers import Manager, ManagerChanges, NewManager
from collector.domain.nodes import NewNode
from collector.domain.reports import Received
from collector.domain.users import NewUser, UserChanges
from collector.store import leases
from collector.store import managers as stored
from collector.store.session import Session
from shared.messages import Lease, Usage
from shared.names import EndpointId, LedgerId, ManagerId, NodeId, UserId
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet, uuid

GB = 10**9
USERS = 6


@dataclass
class Site:
    """A node that serves users up to the ceilings it was given, and not a byte further."""

    fleet: Fleet
    node: NodeId
    endpoint: EndpointId
    ledger: LedgerId
    sequence: int = 0
    totals: dict[UserId, int] = field(default_factory=dict)
    ceilings: dict[UserId, int] = field(default_factory=dict)

    def serve(self, user: UserId, wanted: int) -> int:
        """Let so many bytes pass, as far as the lease goes; returns how many did."""
        total = self.totals.get(user, 0)
        served = max(0, min(wanted, self.ceilings.get(user, 0) - total))
        self.totals[user] = total + served
        return served

    def report(self, asking: list[UserId], now_ms: int, *, idle: list[UserId], lost: bool = False) -> None:
        """Report everything, give idle leases back, and take the answer unless it is lost."""
        self.sequence += 1
        returned = []
        for user in idle:
            self.ceilings[user] = self.totals.get(user, 0)
            returned.append(Lease(user, 1, 0, self.ceilings[user]))
        rows = [Usage(user, self.endpoint, 0, total) for user, total in sorted(self.totals.items())]
        report = Received(
            ledger=self.ledger,
            rows=list(enumerate(rows)),
            undecodable=[],
            order=(1, self.sequence),
            returned=tuple(returned),
            unleased=tuple(asking),
        )
        answer = self.fleet.db.write_now(usage.ingest, self.node, report, now_ms).value
        if not lost:
            self.ceilings |= {lease.user: lease.total or 0 for lease in answer.leases}


def _site(fleet: Fleet, number: int) -> Site:
    node = fleet.db.write_now(nodes.create, NewNode(name=f"site-{number}"), ADMIN, NOW_MS).value
    new = NewEndpoint(name="way", protocol="vless", port=443)
    endpoint = fleet.db.write_now(endpoints.create, node.id, new, ADMIN, NOW_MS).value
    return Site(fleet, node.id, endpoint.id, LedgerId(f"ledger-{number}"))


def _line(fleet: Fleet, limits: list[int | None]) -> list[ManagerId]:
    """Managers below each other, the root first."""
    line: list[ManagerId] = []
    for depth, limit in enumerate(limits):
        new = NewManager(name=f"depth-{depth}", parent=line[-1] if line else None, quota_bytes=limit)
        line.append(fleet.db.write_now(managers.create, new, ADMIN, NOW_MS).value.id)
    return line


def _people(fleet: Fleet, of: list[ManagerId], sites: list[Site]) -> list[UserId]:
    everywhere = tuple(site.endpoint for site in sites)
    made = []
    for number in range(1, USERS + 1):
        new = NewUser(name=f"user-{number}", manager=of[number % len(of)], endpoints=everywhere)
        made.append(fleet.db.write_now(users.create, new, uuid(number), ADMIN, NOW_MS).value.id)
    return made


def _checked(session: Session, people: list[UserId]) -> list[Manager]:
    """Every manager, after a look at what is held of him."""
    found = stored.every(session)
    truly: dict[ManagerId, int] = {}
    chains = stored.chains(session, (one.id for one in found))
    held = leases.holdings(session, people, active_since_ms=0)
    for user, manager in session.rows('SELECT id, manager_id FROM "user" WHERE manager_id IS NOT NULL'):
        for one in chains[manager]:
            truly[one.id] = truly.get(one.id, 0) + rules.outstanding(held.get(user, {})).total
    for one in found:
        assert one.held.total >= truly.get(one.id, 0), f"{one.name} holds less than leases may take"
        if one.quota_bytes is not None:
            assert one.used.total + truly.get(one.id, 0) <= one.quota_bytes, f"{one.name} is overdrawn"
    return found


@pytest.mark.parametrize("seed", range(6))
def test_no_manager_passes_his_limit_however_many_nodes_and_siblings_there_are(
    fleet: Fleet, seed: int
) -> None:
    chance = random.Random(seed)
    sites = [_site(fleet, number) for number in range(3)]
    root, middle, leaf = _line(fleet, [4 * GB, 3 * GB, None])
    people = _people(fleet, [leaf, middle, leaf], sites)
    delivered = 0
    for step in range(1, 120):
        site, now_ms = chance.choice(sites), NOW_MS + step * 10_000
        some = chance.sample(people, chance.randrange(1, USERS))
        delivered += sum(site.serve(user, chance.randrange(200_000_000)) for user in some)
        idle = chance.sample(people, chance.randrange(0, 3)) if chance.random() < 0.4 else []
        site.report(some, now_ms, idle=idle, lost=chance.random() < 0.15)
        fleet.db.read_now(_checked, people)
        assert delivered <= 3 * GB
        fleet.db.write_now(phases.pool, 100, now_ms)
    used = {one.id: one.used.total for one in fleet.db.read_now(_checked, people)}
    assert used[root] == used[middle]


def test_nearly_all_of_a_managers_limit_can_be_used(fleet: Fleet) -> None:
    sites = [_site(fleet, number) for number in range(2)]
    line = _line(fleet, [2 * GB, None])
    people = _people(fleet, line[1:], sites)
    delivered = 0
    for step in range(1, 400):
        site = sites[step % 2]
        delivered += sum(site.serve(user, 60_000_000) for user in people)
        site.report(people, NOW_MS + step * 10_000, idle=[])
    assert delivered >= 2 * GB * 99 // 100
    assert delivered <= 2 * GB


def test_a_lost_node_gives_what_it_held_of_managers_free(fleet: Fleet) -> None:
    site = _site(fleet, 1)
    (top,) = _line(fleet, [GB])
    people = _people(fleet, [top], [site])
    site.report(people, NOW_MS + 10_000, idle=[])
    assert _manager(fleet, top).held.total > 0
    fleet.db.write_now(nodes.revoke, site.node, ADMIN, NOW_MS)
    assert _manager(fleet, top).held == Bytes()


def test_who_moves_to_another_manager_takes_along_what_his_leases_hold(fleet: Fleet) -> None:
    site = _site(fleet, 1)
    first, *_ = _line(fleet, [GB])
    other = fleet.db.write_now(managers.create, NewManager(name="other"), ADMIN, NOW_MS).value.id
    people = _people(fleet, [first], [site])
    site.report(people, NOW_MS + 10_000, idle=[])
    before = _manager(fleet, first).held.total
    for user in people:
        change = UserChanges(manager=other)
        fleet.db.write_now(users.change, user, change, ADMIN, NOW_MS + 20_000)
    assert (_manager(fleet, first).held.total, _manager(fleet, other).held.total) == (0, before)


def test_a_lower_limit_than_leases_hold_puts_everybody_below_under_new_terms(fleet: Fleet) -> None:
    site = _site(fleet, 1)
    (top,) = _line(fleet, [8 * GB])
    people = _people(fleet, [top], [site])
    site.report(people, NOW_MS + 10_000, idle=[])
    terms = [fleet.db.read_now(users.one, user).terms for user in people]
    fleet.db.write_now(managers.change, top, ManagerChanges(quota_bytes=100_000_000), ADMIN, NOW_MS)
    assert fleet.db.write_now(phases.pool, 100, NOW_MS).value == USERS
    assert fleet.db.write_now(phases.pool, 100, NOW_MS).value == 0
    assert [fleet.db.read_now(users.one, user).terms for user in people] == [one + 1 for one in terms]


def test_a_limit_above_puts_unlimited_users_under_leases_and_its_end_takes_them_out(fleet: Fleet) -> None:
    site = _site(fleet, 1)
    (top,) = _line(fleet, [None])
    people = _people(fleet, [top], [site])
    assert not fleet.db.read_now(users.one, people[0]).limited
    fleet.db.write_now(managers.change, top, ManagerChanges(quota_bytes=GB), ADMIN, NOW_MS)
    change = fleet.db.write_now(phases.pool, 100, NOW_MS)
    assert (change.value, change.nodes) == (USERS, frozenset({site.node}))
    assert fleet.db.read_now(users.one, people[0]).limited
    fleet.db.write_now(managers.change, top, ManagerChanges(quota_bytes=None), ADMIN, NOW_MS)
    assert fleet.db.write_now(phases.pool, 100, NOW_MS).value == USERS
    assert not fleet.db.read_now(users.one, people[0]).limited


def _manager(fleet: Fleet, number: ManagerId) -> Manager:
    found = fleet.db.read_now(stored.one, number)
    assert found is not None
    return found
