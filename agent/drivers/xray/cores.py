"""A running Xray and everything needed to talk to it.

What always holds: the run file says which endpoints it has, so that its host can fence them and the next
agent knows them; it is written before one is opened and after one is closed, so it never has too few.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from agent.core.served import Served
from agent.drivers import base
from agent.drivers.xray import (
    accounts,
    carriers,
    config,
    control,
    counters,
    intruders,
    options,
    process,
    rpc,
    runfile,
    serving,
)
from shared import endpoints, logs
from shared.messages import Endpoint
from shared.names import EndpointId

LOGGER = logging.getLogger(__name__)

_Method = Literal["aes-128-gcm", "2022-blake3-aes-128-gcm"]


@dataclass(frozen=True, kw_only=True)
class Core:
    """One Xray process, from its start or adoption on."""

    options: options.Options
    process: process.Process
    api: rpc.Api
    host: control.Control
    serving: serving.Serving
    known: counters.Counters = field(default_factory=counters.Counters)
    listeners: intruders.Listeners = field(default_factory=intruders.Listeners)

    @property
    def roll(self) -> accounts.Roll:
        """What it serves as far as we know."""
        return self.serving.roll

    def ports(self) -> dict[EndpointId, int]:
        """Where connections of TCP may be."""
        places = config.places(self.roll.endpoints)
        return {EndpointId(one.endpoint): one.port for one in places if "tcp" in one.networks.split(",")}

    def ways(self) -> dict[EndpointId, carriers.Carriers]:
        """How the clients of each endpoint come."""
        return {key: carriers.of(endpoint) for key, endpoint in self.roll.endpoints.items()}

    async def note(self, served: Iterable[Endpoint]) -> None:
        """Let host and next agent know that these are the endpoints. Raises DriverError."""
        places = config.places({one.endpoint: one for one in served})
        run = self.process.run._replace(places=places)
        try:
            await asyncio.to_thread(runfile.write, self.options.run_dir, run)
        except OSError as error:
            raise base.DriverError(f"the run directory cannot be written: {error.strerror}") from error
        self.process.run = run


def made(chosen: options.Options, running: process.Process, api: rpc.Api, served: Served) -> Core:
    """A core that serves this."""
    roll = accounts.Roll(served.endpoints, served.accounts.values())
    return Core(
        options=chosen,
        process=running,
        api=api,
        host=control.Control(chosen.control),
        serving=serving.Serving(api, roll),
    )


def exact(served: Served) -> Served:
    """What of this can be served; who cannot is logged."""
    planned = accounts.plan(accounts.Roll(served.endpoints), list(served.accounts.values()))
    for meter, reason in planned.refused.items():
        logs.event(LOGGER, logging.WARNING, "xray_account_refused", **meter._asdict(), reason=reason)
    good = {meter: candidate.account for meter, candidate in planned.add.items()}
    return Served(endpoints=dict(served.endpoints), accounts=good)


async def found(api: rpc.Api, places: Iterable[runfile.Place], expected: Served) -> tuple[Served, bool]:
    """What an Xray serves that was started with these places, and whether all of it is what they say.

    An endpoint that runs as expected is the expected one, and so are its accounts; of any other one only its
    address is known: it is like none that could be wanted.
    """
    there = {EndpointId(place.endpoint): recognised(place, expected.endpoints) for place in places}
    wrong = await serving.mistaken(api, there)
    right = {key: endpoint for key, endpoint in there.items() if key not in wrong}
    known = [
        account
        for account in expected.accounts.values()
        if right.get(account.endpoint) == expected.endpoints.get(account.endpoint)
    ]
    return await serving.ask(api, accounts.Roll(right, known)), not wrong


def recognised(place: runfile.Place, expected: Mapping[EndpointId, Endpoint]) -> Endpoint:
    """The expected endpoint that this place was made of; else one like none that could be expected."""
    wanted = expected.get(EndpointId(place.endpoint))
    if wanted is not None and place.fingerprint == config.fingerprint(wanted):
        return wanted
    method: _Method = "2022-blake3-aes-128-gcm" if place.kind == "shadowsocks-2022" else "aes-128-gcm"
    return Endpoint(
        endpoint=EndpointId(place.endpoint),
        protocol=place.protocol,  # type: ignore[arg-type]  # as an agent wrote it, perhaps of another version
        port=place.port,
        listen=place.listen,
        options=endpoints.Shadowsocks(method=method) if place.protocol == "shadowsocks" else None,
        extra={"unknown": True},
    )
