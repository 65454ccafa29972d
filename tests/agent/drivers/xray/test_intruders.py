"""Another listener on the port of a real Xray is seen and named; Xray's own are not taken for one."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from tests.agent.drivers.xray import rig

pytestmark = pytest.mark.e2e


def beside(port: int) -> socket.socket:
    """A listener that shares a port, as a second Xray would."""
    sock = socket.socket(socket.AF_INET6)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("::", port))
    sock.listen()
    return sock


def test_who_listens_beside_xray_is_named_until_he_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab:
            assert await lab.driver.intruders() == {}
            with beside(lab.port):
                (told,) = (await lab.driver.intruders()).values()
                assert f"(process {os.getpid()}) listens on port {lab.port} beside the core" in told
            assert await lab.driver.intruders() == {}

    asyncio.run(scenario())


def test_a_new_start_is_not_taken_for_an_intruder(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab:
            assert await lab.driver.intruders() == {}
            await lab.driver.start(rig.serving(lab.port, lab.accounts[1]))
            assert await lab.driver.intruders() == {}
            assert await lab.works(1)
            assert await lab.driver.intruders() == {}

    asyncio.run(scenario())
