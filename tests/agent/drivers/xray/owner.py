"""An agent reduced to its driver, to be killed: starts Xray, says its generation, and lives on.

Arguments: the test's directory, the seconds until the fence, a port, and a UUID for each user from 1 on.
"""

import asyncio
import sys
from pathlib import Path

from agent.drivers.xray import driver
from tests.agent.drivers.xray import rig


async def main(directory: str, fence_s: str, port: str, *credentials: str) -> None:
    """Serve until killed."""
    chosen = rig.choose(Path(directory), fence_s=float(fence_s))
    with rig.locked(chosen.lock_file):
        accounts = [rig.account(user, text) for user, text in enumerate(credentials, start=1)]
        driven = driver.XrayDriver(chosen)
        await driven.start(rig.serving(int(port), *accounts))
        print((await driven.read())[0].generation, flush=True)  # noqa: T201 - the test reads it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
