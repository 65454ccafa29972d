"""Opens and closes single endpoints of a running Xray, without touching the others.

What always holds: an endpoint that Xray refuses leaves nothing behind, in Xray or in what we believe; no
message is larger than Xray's server takes; accounts go only to an inbound that has been seen to be of their
kind.
"""

import contextlib
import ipaddress
from collections.abc import Mapping, Sequence

from agent.core.counting import Meter
from agent.drivers import base
from agent.drivers.xray import accounts, kinds, labels, typed
from agent.drivers.xray import xray_pb2 as pb
from agent.drivers.xray.cores import Core
from shared.messages import Account, Endpoint
from shared.names import EndpointId

#: Xray's server takes messages of 4 MiB, which is gRPC's own bound; what is over goes one by one.
MAX_MESSAGE_BYTES = 7 << 19


async def place(
    core: Core, inbound: pb.InboundHandler, endpoint: Endpoint, wanted: Sequence[Account]
) -> dict[Meter, str]:
    """Serve one more endpoint as this inbound; returns the refused accounts. Raises DriverError."""
    kind = kinds.kind(endpoint)
    if inbound.proxy_settings.type != kinds.INBOUND_TYPES[kind]:
        raise base.DriverError(f"endpoint {endpoint.endpoint}: extra makes it something else than {kind}")
    planned = accounts.plan(accounts.Roll({endpoint.endpoint: endpoint}), wanted)
    room = MAX_MESSAGE_BYTES - inbound.ByteSize()
    if room < 0:
        raise base.RestartNeededError(f"endpoint {endpoint.endpoint} is too large for a message to Xray")
    first, rest = _divided(planned.add, room)
    inbound.proxy_settings.value += typed.users(kind, list(first.values()))
    await _open(core, aimed(inbound, endpoint), endpoint)
    for meter in first:
        core.roll.put(*planned.add[meter])
    refused = await core.serving.add([planned.add[meter].account for meter in rest])
    return {**planned.refused, **refused}


async def withdraw(core: Core, endpoint: EndpointId) -> None:
    """Stop listening there for good. Success when it was not served. Raises DriverError."""
    if endpoint not in core.roll.endpoints:
        return
    tag = labels.tag(endpoint)
    if tag in await core.api.inbounds():
        await core.api.remove_inbound(tag)
    core.roll.close(endpoint)
    await core.note(core.roll.endpoints.values())


def aimed(inbound: pb.InboundHandler, endpoint: Endpoint) -> pb.InboundHandler:
    """The inbound at the endpoint's own address and port."""
    address = ipaddress.ip_address(endpoint.listen)
    receiver = pb.ReceiverConfig.FromString(inbound.receiver_settings.value)
    port = pb.PortRange(**{"from": endpoint.port, "to": endpoint.port})
    receiver.port_list.CopyFrom(pb.PortList(range=[port]))
    receiver.listen.CopyFrom(pb.IpOrDomain(ip=address.packed))
    inbound.receiver_settings.value = receiver.SerializeToString()
    return inbound


async def _open(core: Core, inbound: pb.InboundHandler, endpoint: Endpoint) -> None:
    await core.note([*core.roll.endpoints.values(), endpoint])
    try:
        await core.api.add_inbound(inbound)
    except base.DriverError as error:
        # Xray keeps the name of one that could not listen, and would refuse it for ever.
        with contextlib.suppress(base.DriverError):
            await core.api.remove_inbound(inbound.tag)
        await core.note(core.roll.endpoints.values())
        if isinstance(error, base.CoreDownError | base.RestartNeededError):
            raise
        raise base.DriverError(f"endpoint {endpoint.endpoint}: {error}") from error
    core.roll.open(endpoint)


def _divided(
    candidates: Mapping[Meter, accounts.Candidate], room: int
) -> tuple[dict[Meter, pb.User], list[Meter]]:
    """Those whose accounts go into one message, and the rest."""
    first: dict[Meter, pb.User] = {}
    rest: list[Meter] = []
    for meter, candidate in candidates.items():
        user = typed.user(labels.email(*meter), candidate.login)
        room -= user.ByteSize() + 4  # the field's own head
        if room < 0:
            rest.append(meter)
        else:
            first[meter] = user
    return first, rest
