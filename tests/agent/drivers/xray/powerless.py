"""A driver in a process that may not end connections; prints what it said and what became of a cut."""

import asyncio
import json
import sys
from pathlib import Path

from tests.agent.drivers.xray import rig


async def main(directory: str) -> None:
    """Try to cut a live connection."""
    async with rig.running(Path(directory), 1) as lab, lab.tunnel(1) as tunnel:
        assert await tunnel.get("/bytes/10") == 10
        one, everybody = await lab.driver.cut([rig.meter(1)]), await lab.driver.cut_all()
        said = {
            "limitations": lab.driver.limitations,
            "cut": [one.ended, one.left],
            "cut_all": [everybody.ended, everybody.left],
            "alive": await tunnel.get("/bytes/10") == 10,
        }
        print(json.dumps(said))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
