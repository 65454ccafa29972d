"""A real Xray's connections: each user with each of his addresses, while they live."""

import asyncio
import contextlib
import ipaddress
from pathlib import Path

import pytest

from agent.core.sessions import Session
from agent.drivers import base
from agent.drivers.xray import sessions, sockets
from shared.names import EndpointId, UserId
from tests.agent.drivers.xray import rig

HOME, CAFE = "127.0.0.5", "127.0.0.6"


def session(user: int, address: str) -> Session:
    return Session(UserId(user), EndpointId(1), ipaddress.ip_address(address))


@pytest.mark.e2e
def test_each_address_of_a_user_is_named_once_and_only_while_it_is_connected(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, 2) as lab, contextlib.AsyncExitStack() as open_tunnels:

            async def sees(*wanted: Session) -> bool:
                found = await lab.driver.sessions()
                assert len(found) == len(set(found))
                return set(found) == set(wanted)

            assert await lab.driver.sessions() == []
            for user, home in ((1, HOME), (1, HOME), (2, HOME)):
                tunnel = await open_tunnels.enter_async_context(lab.tunnel(user, home=home))
                assert await tunnel.get("/bytes/10") == 10
            async with lab.tunnel(1, home=CAFE) as tunnel:
                assert await tunnel.get("/bytes/10") == 10
                await rig.until(lambda: sees(session(1, HOME), session(1, CAFE), session(2, HOME)))
            await rig.until(lambda: sees(session(1, HOME), session(2, HOME)))
            await lab.driver.block([rig.meter(1)])
            await lab.driver.cut([rig.meter(1)])
            await rig.until(lambda: sees(session(2, HOME)))

    asyncio.run(scenario())


@pytest.mark.e2e
def test_a_core_that_is_down_has_no_sessions_to_tell(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab:
            await lab.driver.stop()
            with pytest.raises(base.CoreDownError):
                await lab.driver.sessions()

    asyncio.run(scenario())


def test_what_has_ended_or_is_nobody_s_is_left_out() -> None:
    four, six = sockets.peer("198.51.100.7", 1), sockets.peer("2001:db8::1", 2)
    mapped, ended = sockets.peer("::ffff:198.51.100.7", 3), sockets.peer("198.51.100.8", 4)
    known = {
        "u1-e1": frozenset({four, mapped, six, ended}),
        "u2-e2": frozenset({four}),
        "somebody": frozenset({four}),
    }
    found = sessions.matched(known, {EndpointId(1): {four, mapped, six}})
    assert sorted(found, key=str) == [session(1, "198.51.100.7"), session(1, "2001:db8::1")]
