"""The agent carries nothing it does not need, and keeps nothing it no longer needs."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

_LOOK = """
import sys
from agent import cli
assert "asyncio" not in sys.modules, "status does without"
import agent.main
unwanted = {"httpx", "email", "http", "click", "pygments", "rich", "cryptography", "jwt"}
unwanted |= {"certifi", "starlette", "peewee", "xray"}
print(*sorted(unwanted & sys.modules.keys()))
"""


_USE = """
import os, sys
from agent import lean

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

if sys.argv[1] == "stays":
    lean.stay()
bytes(range(256)) * 4096
before_mb = resident_mb()
large, small = zip(*((bytes(range(256)) * 4096, bytes(2000)) for _ in range(8)))
del large
print(round(resident_mb() - before_mb))
"""


def _looked(*code: str) -> str:
    root = Path(__file__).parents[2]
    looked = subprocess.run(
        [sys.executable, "-c", *code], cwd=root, capture_output=True, text=True, timeout=30, check=True
    )
    return looked.stdout.strip()


def test_an_agent_that_runs_has_loaded_nothing_it_does_not_need() -> None:
    assert _looked(_LOOK) == ""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other habits")
def test_what_is_given_back_between_things_that_stay_is_not_kept() -> None:
    assert _looked(_USE, "grows") == "8", "there is nothing to keep small"
    assert _looked(_USE, "stays") == "0"
