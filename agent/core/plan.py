"""What the node holds of its desired state, and how to get from what is served to what is wanted.

What always holds:
- A state older than the held one is refused, and so is other content under a generation that is held already;
  only a full state may go back, since then the collector itself has gone back (a restored backup).
- A user whom the collector stopped stays stopped, whatever state arrives late, until an item of his arrives
  that is younger than the state under which he was stopped.
- A new credential of an account is leaving, then joining: old connections must not outlive the credential.
  Another speed is joining only.
"""

import dataclasses
from collections.abc import Callable, Container, Iterable, Mapping

import msgspec

from agent.core.counting import Meter
from agent.core.served import Served
from shared.messages import Account, DesiredState, Endpoint, Item
from shared.names import EndpointId, UserId, account_key, endpoint_key


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holding:
    """The last desired state taken, and whom the collector has stopped since, by the generation then held.

    `revoked` says that the collector disowned this node: it holds everything and serves nobody.
    """

    generation: int = 0
    items: Mapping[str, Item] = dataclasses.field(default_factory=dict)
    stopped: Mapping[UserId, int] = dataclasses.field(default_factory=dict)
    revoked: bool = False


@dataclasses.dataclass(frozen=True)
class Outdated:
    """A state that must not be taken, and why; only a full one can settle the matter."""

    reason: str


@dataclasses.dataclass(frozen=True)
class RefusedEndpoint:
    """An endpoint the core would not start with, and why; tried again when it or the core starts anew.

    `obstacle`: something outside the core is in the way, so it is tried again as soon as that is gone.
    """

    endpoint: Endpoint
    reason: str
    obstacle: bool = False


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What to serve, and why the rest of the desired state cannot be, by item key."""

    served: Served
    failures: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Steps from what is served to what is wanted, in this order; a changed endpoint closes, then opens."""

    leaving: tuple[Meter, ...]
    closing: tuple[EndpointId, ...]
    opening: tuple[Endpoint, ...]
    joining: tuple[Account, ...]


def receive(held: Holding, state: DesiredState) -> Holding | Outdated:
    """What to hold once this state has arrived, or why it must not be taken."""
    if state.full:
        return _replaced(held, state)
    if state.generation < held.generation:
        return Outdated(f"generation {state.generation} is older than {held.generation}, which is held")
    for item in state.items:
        if conflict := _conflict(held, state.generation, item):
            return Outdated(conflict)
    items = dict(held.items)
    for item in state.items:
        if item.body is None:
            items.pop(item.key, None)
        else:
            items[item.key] = item
    merged = dataclasses.replace(held, generation=state.generation, items=items)
    return dataclasses.replace(merged, stopped=_still_stopped(merged))


def stop(held: Holding, users: Iterable[UserId], generation: int) -> Holding:
    """Stop these users under what was held as `generation`; an older word does not weaken a newer one."""
    stopped = {**held.stopped, **{user: max(generation, held.stopped.get(user, 0)) for user in users}}
    stopping = dataclasses.replace(held, stopped=stopped)
    return dataclasses.replace(stopping, stopped=_still_stopped(stopping))


def wanted(
    held: Holding,
    refused: Mapping[EndpointId, RefusedEndpoint],
    running: Served,
    allowed: Callable[[Account], bool] = lambda _: True,
    protocols: Container[str] | None = None,
) -> Wanted:
    """What is to be served now; `allowed` says whether an account may be, by leases and penalties.

    A refused endpoint goes on as it ran before; where it did not run, it and its accounts are left out, and
    so are endpoints of other protocols than these.
    """
    if held.revoked:
        return Wanted(Served(), {})
    endpoints, failures = _endpoints(held, refused, running)
    if protocols is not None:
        for other in [one for one in endpoints.values() if one.protocol not in protocols]:
            del endpoints[other.endpoint]
            reason = f"this node has no core for the protocol {other.protocol}"
            failures[endpoint_key(other.endpoint)] = reason
    accounts: dict[Meter, Account] = {}
    for key, item in held.items.items():
        body = item.body
        if not isinstance(body, Account) or _is_stopped(held, item, body) or not allowed(body):
            continue
        if body.endpoint in endpoints:
            accounts[Meter(body.user, body.endpoint)] = _known(body, endpoints[body.endpoint])
        else:
            failures[key] = f"endpoint {body.endpoint} is not served by this node"
    return Wanted(Served(endpoints, accounts), failures)


def _known(account: Account, endpoint: Endpoint) -> Account:
    """What a core knows of an account: whoever is lent anew, or adopted, must not be served anew.

    No core knows the terms, and none of WireGuard the UUID, in whose place are keys.
    """
    if endpoint.protocol == "wireguard":
        return msgspec.structs.replace(account, terms=None, uuid="")
    return account if account.terms is None else msgspec.structs.replace(account, terms=None)


def difference(want: Served, running: Served) -> Plan:
    """The steps from what runs to what is wanted."""
    closing = tuple(key for key, one in running.endpoints.items() if want.endpoints.get(key) != one)
    opening = tuple(one for key, one in want.endpoints.items() if running.endpoints.get(key) != one)
    anew = {*closing, *(one.endpoint for one in opening)}
    leaving = tuple(
        meter
        for meter, account in running.accounts.items()
        if not _goes_on(account, want.accounts.get(meter)) or meter.endpoint in anew
    )
    joining = tuple(
        account
        for meter, account in want.accounts.items()
        if running.accounts.get(meter) != account or meter.endpoint in anew
    )
    return Plan(leaving=leaving, closing=closing, opening=opening, joining=joining)


def _goes_on(account: Account, wanted: Account | None) -> bool:
    """Whether its connections may live on: another speed is no reason to end them."""
    if account == wanted or wanted is None:
        return account == wanted
    return account.rate != wanted.rate and msgspec.structs.replace(account, rate=wanted.rate) == wanted


def part(whole: Served, protocols: Container[str]) -> Served:
    """What of this is for a core that serves these protocols."""
    endpoints = {key: one for key, one in whole.endpoints.items() if one.protocol in protocols}
    if len(endpoints) == len(whole.endpoints):
        return whole
    return Served(endpoints, {m: a for m, a in whole.accounts.items() if m.endpoint in endpoints})


def together(parts: Iterable[Served]) -> Served:
    """What several cores serve."""
    every = list(parts)
    if len(every) == 1:
        return every[0]
    endpoints = {key: one for part in every for key, one in part.endpoints.items()}
    return Served(endpoints, {meter: one for part in every for meter, one in part.accounts.items()})


def placed(running: Served, endpoint: Endpoint) -> Served:
    """What runs once this endpoint is open; nobody is served there yet."""
    return Served({**running.endpoints, endpoint.endpoint: endpoint}, running.accounts)


def without_endpoints(whole: Served, gone: Container[EndpointId]) -> Served:
    """What is left without these endpoints and their accounts."""
    return Served(
        {key: one for key, one in whole.endpoints.items() if key not in gone},
        {meter: one for meter, one in whole.accounts.items() if meter.endpoint not in gone},
    )


def withdrawn(running: Served, endpoint: EndpointId) -> Served:
    """What runs once this endpoint is closed."""
    return Served({key: e for key, e in running.endpoints.items() if key != endpoint}, running.accounts)


def without(running: Served, meters: Iterable[Meter]) -> Served:
    """What runs once these have left."""
    gone = set(meters)
    return Served(running.endpoints, {m: a for m, a in running.accounts.items() if m not in gone})


def joined(running: Served, accounts: Iterable[Account]) -> Served:
    """What runs once these have joined."""
    return Served(running.endpoints, {**running.accounts, **{Meter(a.user, a.endpoint): a for a in accounts}})


def _replaced(held: Holding, state: DesiredState) -> Holding:
    items = {item.key: item for item in state.items if item.body is not None}
    # A collector that went back has forgotten whom it stopped: it decides anew from the totals it is sent.
    stopped = held.stopped if state.generation >= held.generation else {}
    full = dataclasses.replace(held, generation=state.generation, items=items, stopped=stopped)
    return dataclasses.replace(full, stopped=_still_stopped(full))


def _conflict(held: Holding, generation: int, item: Item) -> str | None:
    mine = held.items.get(item.key)
    if mine is None:
        unseen = item.body is not None and generation == held.generation
        return f"{item.key} is new under generation {generation}, which is held already" if unseen else None
    if item.generation < mine.generation:
        return f"{item.key} came as generation {item.generation}, {mine.generation} is held"
    same_age = item.generation == mine.generation or generation == held.generation
    if same_age and item.body != mine.body:
        return f"{item.key} changed without a new generation"
    return None


def _is_stopped(held: Holding, item: Item, account: Account) -> bool:
    since = held.stopped.get(account.user)
    return since is not None and item.generation <= since


def _still_stopped(held: Holding) -> dict[UserId, int]:
    if not held.stopped:
        return {}
    accounts = [(item, item.body) for item in held.items.values() if isinstance(item.body, Account)]
    users = {body.user for item, body in accounts if _is_stopped(held, item, body)}
    return {user: since for user, since in held.stopped.items() if user in users}


def _endpoints(
    held: Holding, refused: Mapping[EndpointId, RefusedEndpoint], running: Served
) -> tuple[dict[EndpointId, Endpoint], dict[str, str]]:
    endpoints: dict[EndpointId, Endpoint] = {}
    failures: dict[str, str] = {}
    for item in held.items.values():
        body = item.body
        if not isinstance(body, Endpoint):
            continue
        refusal = refused.get(body.endpoint)
        if refusal is None or refusal.endpoint != body:
            endpoints[body.endpoint] = body
            continue
        failures[endpoint_key(body.endpoint)] = refusal.reason
        if before := running.endpoints.get(body.endpoint):
            endpoints[body.endpoint] = before
    return endpoints, failures


def account_failures(refused: Mapping[Meter, str]) -> dict[str, str]:
    """Reasons of the core for single accounts, by item key."""
    return {account_key(meter.user, meter.endpoint): reason for meter, reason in refused.items()}
