"""An agent reduced to its driver, to be killed: serves what it is told on standard input, and lives on.

Arguments: the run directory and the prefix of its interfaces.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers.wireguard import driver, options
from shared.messages import Account, Endpoint


class Told(msgspec.Struct):
    """What to serve."""

    endpoint: Endpoint
    accounts: list[Account]


async def main(run_dir: str, prefix: str) -> None:
    """Serve until killed."""
    told = msgspec.json.decode(sys.stdin.buffer.readline(), type=Told)
    chosen = options.Options(run_dir=Path(run_dir), backend="userspace", prefix=prefix)
    driven = driver.WireGuardDriver(chosen)
    accounts = {Meter(one.user, one.endpoint): one for one in told.accounts}
    await driven.start(Served({told.endpoint.endpoint: told.endpoint}, accounts))
    (reading,) = await driven.read()
    print(reading.generation, flush=True)  # noqa: T201 - the test reads it
    while True:
        await driven.read()
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
