"""Decides how accounts get into a running Xray: pure.

Xray knows an account by its e-mail and finds it by its UUID, of which it ignores two bytes
(proxy/vless/validator.go, ProcessUUID). Adding a second account with the same UUID takes the first one's
place silently, and removing either then deletes both. What always holds: of one endpoint no two accounts
that Xray would take for one are ever served, and an account with a new UUID is removed before it is added.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from agent.core.counting import Meter
from shared.messages import Account, Endpoint
from shared.names import EndpointId


@dataclass(frozen=True, kw_only=True)
class Plan:
    """First `remove`, all of them; then `add`; `refused` has the reason for each that is in neither."""

    remove: tuple[Meter, ...]
    add: tuple[Account, ...]
    refused: Mapping[Meter, str]


def plan(
    held: Mapping[Meter, str], endpoints: Mapping[EndpointId, Endpoint], wanted: Sequence[Account]
) -> Plan:
    """How to serve the wanted accounts beside those held (meter to UUID). The last of equal meters counts."""
    refused: dict[Meter, str] = {}
    asked: dict[Meter, Account] = {}
    for account in wanted:
        meter = Meter(account.user, account.endpoint)
        refused.pop(meter, None)
        asked.pop(meter, None)
        try:
            asked[meter] = _checked(account, endpoints)
        except ValueError as wrong:
            refused[meter] = str(wrong)
    while clashes := _clashes(held, asked):
        refused |= clashes
        asked = {meter: account for meter, account in asked.items() if meter not in clashes}
    return Plan(
        remove=tuple(
            meter for meter, account in asked.items() if held.get(meter, account.uuid) != account.uuid
        ),
        add=tuple(asked.values()),
        refused=refused,
    )


def _checked(account: Account, endpoints: Mapping[EndpointId, Endpoint]) -> Account:
    if account.endpoint not in endpoints:
        raise ValueError(f"endpoint {account.endpoint} is not served on this node")
    try:
        canonical = str(uuid.UUID(account.uuid))
    except ValueError:
        raise ValueError("its credential is not a UUID") from None
    return msgspec.structs.replace(account, uuid=canonical)


def _clashes(held: Mapping[Meter, str], asked: Mapping[Meter, Account]) -> dict[Meter, str]:
    """Those asked for whose UUID another account has that stays or comes first."""
    taken = {_slot(meter.endpoint, text): meter for meter, text in held.items() if meter not in asked}
    clashes: dict[Meter, str] = {}
    for meter, account in asked.items():
        owner = taken.setdefault(_slot(account.endpoint, account.uuid), meter)
        if owner != meter:
            clashes[meter] = f"its credential is that of user {owner.user} on endpoint {owner.endpoint}"
    return clashes


def _slot(endpoint: EndpointId, text: str) -> tuple[EndpointId, bytes]:
    raw = uuid.UUID(text).bytes
    return endpoint, raw[:6] + raw[8:]
