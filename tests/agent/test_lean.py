"""The agent carries nothing it does not need."""

import subprocess
import sys
from pathlib import Path

_LOOK = """
import sys
from agent import cli
assert "asyncio" not in sys.modules, "status does without"
import agent.main
unwanted = {"httpx", "h11", "email", "http", "click", "pygments", "rich", "cryptography", "jwt"}
unwanted |= {"certifi", "starlette", "peewee", "xray"}
print(*sorted(unwanted & sys.modules.keys()))
"""


def test_an_agent_that_runs_has_loaded_nothing_it_does_not_need() -> None:
    root = Path(__file__).parents[2]
    looked = subprocess.run(
        [sys.executable, "-c", _LOOK], cwd=root, capture_output=True, text=True, timeout=30, check=True
    )
    assert looked.stdout.strip() == ""
