"""A driver in a process that may not end connections, which prints what it said and what became of a cut.

It also leaves an Xray without an agent and prints how that ended.
"""

import asyncio
import json
import sys
from pathlib import Path

from tests.agent.drivers.xray import rig


async def main(directory: str) -> None:
    """Try to cut a live connection, then leave another Xray alone."""
    home = Path(directory)
    said = {"exit": await leaving(home)} | await cutting(home)
    print(json.dumps(said))  # noqa: T201 - the test reads it


async def cutting(directory: Path) -> dict[str, object]:
    """What cuts do."""
    async with rig.running(directory, 1) as lab, lab.tunnel(1) as tunnel:
        assert await tunnel.get("/bytes/10") == 10
        one, everybody = await lab.driver.cut([rig.meter(1)]), await lab.driver.cut_all()
        return {
            "limitations": lab.driver.limitations,
            "cut": [one.ended, one.left],
            "cut_all": [everybody.ended, everybody.left],
            "alive": await tunnel.get("/bytes/10") == 10,
        }


async def leaving(directory: Path) -> str:
    """What Xray ends with when its agent's lock is free."""
    chosen = rig.choose(directory, fence_s=0.4)
    async with rig.driven(chosen) as made, asyncio.timeout(10):
        with rig.locked(chosen.lock_file):
            await made.start(rig.serving(rig.free_port()))
        return await made.exited()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
