"""Decides how accounts get into a running Xray: pure.

Xray knows an account by its e-mail and finds it by its secret. Adding a second account with the same secret
takes the first one's place silently, and removing either then deletes both. What always holds: of one
endpoint no two accounts that Xray would take for one are ever served, and an account with a new secret is
removed before it is added.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agent.core.counting import Meter
from agent.drivers.xray import kinds
from shared.messages import Account, Endpoint
from shared.names import EndpointId


class Candidate(NamedTuple):
    """An account that can be served, and what Xray will know it by."""

    account: Account
    login: kinds.Login


@dataclass(frozen=True, kw_only=True)
class Plan:
    """First `remove`, all of them; then `add`; `refused` has the reason for each that is in neither."""

    remove: tuple[Meter, ...]
    add: Mapping[Meter, Candidate]
    refused: Mapping[Meter, str]


class Roll:
    """What one Xray serves as far as we know: endpoints, their accounts, and who has which place there."""

    def __init__(
        self, endpoints: Mapping[EndpointId, Endpoint] | None = None, accounts: Iterable[Account] = ()
    ) -> None:
        self.endpoints: dict[EndpointId, Endpoint] = {}
        self.accounts: dict[Meter, Account] = {}
        self._owners: dict[EndpointId, dict[bytes, Meter]] = {}
        for endpoint in (endpoints or {}).values():
            self.open(endpoint)
        for account in accounts:
            self.put(account)

    def open(self, endpoint: Endpoint) -> None:
        """An endpoint is served from now on."""
        self.endpoints[endpoint.endpoint] = endpoint
        self._owners.setdefault(endpoint.endpoint, {})

    def close(self, endpoint: EndpointId) -> None:
        """An endpoint and all its accounts are no longer served."""
        for meter in [meter for meter in self.accounts if meter.endpoint == endpoint]:
            del self.accounts[meter]
        self.endpoints.pop(endpoint, None)
        self._owners.pop(endpoint, None)

    def login(self, meter: Meter) -> kinds.Login | None:
        """What Xray knows this account by; None when it is not served, or nobody can tell."""
        account = self.accounts.get(meter)
        try:
            return kinds.login(account, self.endpoints[meter.endpoint]) if account else None
        except ValueError:
            return None

    def put(self, account: Account, login: kinds.Login | None = None) -> None:
        """This account is served, in the place of the one it had before; `login` if that is known already."""
        meter = Meter(account.user, account.endpoint)
        self.drop(meter)
        self.accounts[meter] = account
        if login := login or self.login(meter):
            for slot in kinds.slots(login):
                self._owners[meter.endpoint][slot] = meter

    def drop(self, meter: Meter) -> None:
        """This account is not served any more."""
        login = self.login(meter)
        self.accounts.pop(meter, None)
        if login:
            for slot in kinds.slots(login):
                if self._owners[meter.endpoint].get(slot) == meter:
                    del self._owners[meter.endpoint][slot]

    def owner(self, endpoint: EndpointId, slot: bytes) -> Meter | None:
        """Who has this place on the endpoint."""
        return self._owners[endpoint].get(slot)


def plan(roll: Roll, wanted: Sequence[Account]) -> Plan:
    """How to serve the wanted accounts beside those of the roll. The last of equal meters counts."""
    refused: dict[Meter, str] = {}
    asked: dict[Meter, Candidate] = {}
    for account in wanted:
        meter = Meter(account.user, account.endpoint)
        refused.pop(meter, None)
        asked.pop(meter, None)
        try:
            asked[meter] = _checked(account, roll.endpoints)
        except ValueError as wrong:
            refused[meter] = str(wrong)
    while clashes := _clashes(roll, asked):
        refused |= clashes
        asked = {meter: candidate for meter, candidate in asked.items() if meter not in clashes}
    return Plan(
        remove=tuple(
            meter
            for meter, candidate in asked.items()
            if meter in roll.accounts and roll.login(meter) != candidate.login
        ),
        add=asked,
        refused=refused,
    )


def _checked(account: Account, endpoints: Mapping[EndpointId, Endpoint]) -> Candidate:
    if account.endpoint not in endpoints:
        raise ValueError(f"endpoint {account.endpoint} is not served on this node")
    return Candidate(account, kinds.login(account, endpoints[account.endpoint]))


def _clashes(roll: Roll, asked: Mapping[Meter, Candidate]) -> dict[Meter, str]:
    """Those asked for whose place another account has that stays or comes first."""
    claimed: dict[tuple[EndpointId, bytes], Meter] = {}
    clashes: dict[Meter, str] = {}
    for meter, candidate in asked.items():
        for slot in kinds.slots(candidate.login):
            staying = roll.owner(meter.endpoint, slot)
            owner = claimed.setdefault((meter.endpoint, slot), meter)
            if staying is not None and staying not in asked:
                owner = staying
            if owner != meter:
                clashes[meter] = f"its credential is that of user {owner.user} on endpoint {owner.endpoint}"
    return clashes
