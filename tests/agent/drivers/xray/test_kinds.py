"""Accounts of every kind on a real Xray: added, replaced, removed and read back, none of them twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from agent.core.served import Served
from agent.drivers import base
from agent.drivers.xray import driver, kinds, labels, rpc, runfile, typed
from agent.drivers.xray import xray_pb2 as pb
from shared.messages import Account, Endpoint
from tests.agent.drivers.xray import rig
from tests.agent.drivers.xray.kinds_of_endpoints import KINDS, account, endpoint

pytestmark = pytest.mark.e2e


@dataclass
class Scene:
    """A driver whose Xray has one endpoint, and a connection of the test's own to that Xray."""

    driver: driver.XrayDriver
    api: rpc.Api
    endpoint: Endpoint

    async def there(self) -> list[tuple[str, kinds.Login | None]]:
        """Our accounts as Xray has them, by e-mail."""
        tag = labels.tag(self.endpoint.endpoint)
        return sorted(one for one in await self.api.users(tag) if labels.parse_email(one[0]))

    def known(self, *accounts: Account) -> list[tuple[str, kinds.Login | None]]:
        """What Xray ought to have."""
        return sorted(
            (labels.email(one.user, one.endpoint), kinds.login(one, self.endpoint)) for one in accounts
        )


@contextlib.asynccontextmanager
async def scene(path: Path, kind: str, *accounts: Account) -> AsyncIterator[Scene]:
    """An Xray that was started with these accounts on an endpoint of this kind."""
    chosen, only = rig.choose(path), endpoint(kind, path)
    with rig.locked(chosen.lock_file):
        async with rig.driven(chosen) as made:
            await made.start(Served({only.endpoint: only}, {rig.meter(one.user): one for one in accounts}))
            api = rpc.Api(chosen.api)
            try:
                yield Scene(made, api, only)
            finally:
                await api.close()


@pytest.mark.parametrize("kind", KINDS)
def test_accounts_of_every_kind_come_and_go_and_are_read_back(tmp_path: Path, kind: str) -> None:
    async def scenario() -> None:
        first, second, third = account(1), account(2), account(3)
        async with scene(tmp_path, kind, first) as play:
            assert await play.there() == play.known(first)
            assert await play.driver.add([second, third]) == {}
            assert await play.driver.block([rig.meter(2)]) == {}
            assert await play.there() == play.known(first, third)
            served = await play.driver.served()
            assert served.accounts == {rig.meter(1): first, rig.meter(3): third}
            assert served.endpoints == {play.endpoint.endpoint: play.endpoint}

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_an_inbound_without_accounts_takes_the_first_one(tmp_path: Path, kind: str) -> None:
    """Of Shadowsocks 2022 one that began without any would serve a single user for ever."""

    async def scenario() -> None:
        async with scene(tmp_path, kind) as play:
            only = account(1)
            assert await play.driver.add([only]) == {}
            assert await play.there() == play.known(only)
            assert await play.driver.block([rig.meter(1)]) == {}
            assert await play.driver.add([only]) == {}
            assert await play.there() == play.known(only)

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_added_again_is_there_once(tmp_path: Path, kind: str) -> None:
    async def scenario() -> None:
        first, second = account(1), account(2)
        async with scene(tmp_path, kind, first) as play:
            for _ in range(2):
                assert await play.driver.add([first, second, first]) == {}
            assert await play.there() == play.known(first, second)
            assert await play.driver.block([rig.meter(1), rig.meter(1)]) == {}
            assert await play.there() == play.known(second)

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_secret_leaves_nothing_of_the_old_one(tmp_path: Path, kind: str) -> None:
    async def scenario() -> None:
        async with scene(tmp_path, kind, account(1)) as play:
            again = account(1)
            assert await play.driver.add([again]) == {}
            assert await play.there() == play.known(again)

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_secrets_that_are_swapped_reach_their_new_owners(tmp_path: Path, kind: str) -> None:
    async def scenario() -> None:
        first, second = account(1), account(2)
        async with scene(tmp_path, kind, first, second) as play:
            swapped = [
                msgspec.structs.replace(first, uuid=second.uuid, peer=second.peer),
                msgspec.structs.replace(second, uuid=first.uuid, peer=first.peer),
            ]
            assert await play.driver.add(swapped) == {}
            assert await play.there() == play.known(*swapped)
            refused = await play.driver.add([msgspec.structs.replace(first, user=rig.meter(3).user)])
            assert "that of user 2" in refused[rig.meter(3)]

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_hand_did_to_accounts_is_seen_and_set_right(tmp_path: Path, kind: str) -> None:
    async def scenario() -> None:
        kept, gone, changed, strange = (account(user) for user in (1, 2, 3, 4))
        async with scene(tmp_path, kind, kept, gone, changed) as play:
            await play.api.remove_user("e1", "u2-e1")
            await play.api.remove_user("e1", "u3-e1")
            for other in (account(3), strange):
                email = labels.email(other.user, other.endpoint)
                await play.api.add_user("e1", email, kinds.login(other, play.endpoint))
            served = (await play.driver.served()).accounts
            assert served[rig.meter(1)] == kept
            assert rig.meter(2) not in served
            assert served[rig.meter(3)] != changed
            assert rig.meter(4) in served
            assert await play.driver.block([rig.meter(3), rig.meter(4)]) == {}
            assert await play.driver.add([gone, changed]) == {}
            assert await play.there() == play.known(kept, gone, changed)

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["shadowsocks", "hysteria"])
def test_a_copy_that_xray_made_without_a_word_is_seen_and_removed(tmp_path: Path, kind: str) -> None:
    async def scenario() -> None:
        only, other = account(1), account(1)
        async with scene(tmp_path, kind, only) as play:
            assert await play.api.add_user("e1", "u1-e1", kinds.login(other, play.endpoint))
            assert len(await play.there()) == 2
            assert (await play.driver.served()).accounts[rig.meter(1)] != only
            assert await play.driver.block([rig.meter(1)]) == {}
            assert await play.there() == []

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_who_lacks_what_the_endpoint_needs_is_refused_in_words(tmp_path: Path, kind: str) -> None:
    async def scenario() -> None:
        async with scene(tmp_path, kind) as play:
            wrong = msgspec.structs.replace(account(1), uuid="none", peer=None)
            refused = await play.driver.add([wrong, account(2)])
            assert refused[rig.meter(1)] in ("its credential is not a UUID", "it has no WireGuard key")
            assert list(await play.there()) == play.known(*(await play.driver.served()).accounts.values())

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_agent_knows_every_kind_and_cuts_nobody_for_it(tmp_path: Path, kind: str) -> None:
    async def scenario() -> None:
        both = [account(1), account(2)]
        async with scene(tmp_path, kind, *both) as play:
            wanted = await play.driver.served()
            await play.driver.leave()
            assert await play.driver.adopt(wanted) == base.Adopted(wanted)
            assert await play.driver.add(both) == {}
            assert await play.there() == play.known(*both)

    asyncio.run(scenario())


def test_an_inbound_of_another_kind_than_was_written_down_is_given_no_account(tmp_path: Path) -> None:
    """It would end Xray: an account of VMess on an inbound of VLESS is a panic."""

    async def scenario() -> None:
        async with scene(tmp_path, "vless", account(1)) as play:
            chosen = rig.choose(tmp_path)
            run = runfile.read(chosen.run_dir)
            assert run is not None
            await play.driver.leave()
            lying = run.places[0]._replace(kind="vmess", protocol="vmess")
            runfile.write(chosen.run_dir, run._replace(places=(lying,)))
            assert await play.driver.adopt(Served()) == base.Adopted(Served(), stale=True)
            refused = await play.driver.add([account(2)])
            assert refused == {rig.meter(2): "endpoint 1 is not served on this node"}
            assert (await play.driver.status()).problem is None

    asyncio.run(scenario())


def test_an_account_of_another_kind_would_end_xray(tmp_path: Path) -> None:
    """Why kinds are kept apart at all; should Xray learn to refuse it, nothing is lost."""

    async def scenario() -> None:
        async with scene(tmp_path, "vless") as play:
            with contextlib.suppress(base.DriverError):
                await play.api.add_user("e1", "u1-e1", kinds.Login("vmess", account(1).uuid))
            async with asyncio.timeout(5):
                assert "ended" in await play.driver.exited()

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sent_is_what_is_read(tmp_path: Path, kind: str) -> None:
    login = kinds.login(account(1), endpoint(kind, tmp_path))
    sent = typed.user("u1-e1", login)
    assert typed.login(pb.User.FromString(sent.SerializeToString())) == login
    assert login.kind == kind
