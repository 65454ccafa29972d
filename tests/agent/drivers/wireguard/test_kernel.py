"""The kernel's module, spoken to as pyroute2 understands it, whose classes play it here."""

import base64
import errno
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.drivers import base
from agent.drivers.wireguard import choice, driver, kernel, options
from agent.drivers.wireguard.peers import Change, block, remove
from tests.agent.drivers.wireguard import samples
from tests.kit import wg_module


@pytest.fixture
def module() -> Iterator[wg_module.Module]:
    with wg_module.Module().running() as running:
        yield running


def device(module: wg_module.Module, name: str = "tg1") -> kernel.Kernel:
    return kernel.Kernel(name, "generation", module.connect)


def raw(key: str) -> bytes:
    return base64.b64decode(key)


def test_peers_are_made_changed_blocked_and_removed(module: wg_module.Module) -> None:
    one, two, secret = (samples.key(random.Random(seed)) for seed in (1, 2, 3))
    under = device(module)
    under.configure(secret, 51820)
    under.apply(
        [Change(one, allowed=("10.0.0.2/32", "fd66::2/128"), preshared=secret), Change(two, ("10.0.0.3/32",))]
    )
    assert (module.private_key, module.port) == (raw(secret), 51820)
    assert module.peers[raw(one)].preshared == raw(secret)
    assert module.peers[raw(one)].allowed[1] == (
        socket.AF_INET6,
        socket.inet_pton(socket.AF_INET6, "fd66::2"),
        128,
    )
    module.peers[raw(one)].rx = 5
    under.apply([block(one), remove(two), Change(two, allowed=("10.0.0.9/32",), only_known=True)])
    assert list(module.peers) == [raw(one)]
    assert (module.peers[raw(one)].allowed, module.peers[raw(one)].rx) == ([], 5)
    under.apply([Change(one, allowed=("10.0.0.2/32",), preshared="")])
    assert module.peers[raw(one)].preshared == bytes(32)


def test_a_dump_of_many_messages_is_one_state(module: wg_module.Module) -> None:
    generator = random.Random(4)
    keys = [samples.key(generator) for _ in range(40)]
    for number, key in enumerate(keys):
        allowed = [(int(socket.AF_INET), bytes([10, 0, number, last]), 32) for last in range(number % 6)]
        module.peers[raw(key)] = wg_module.Peer(
            allowed=allowed,
            handshake_s=number,
            rx=2**40 + number,
            tx=number,
            endpoint=("198.51.100.7", 1000 + number),
        )
    module.peers[raw(keys[3])].endpoint = ("2001:db8::7", 53)
    state = device(module).state()
    assert list(state.peers) == keys
    for number, key in enumerate(keys):
        seen = state.peers[key]
        assert seen.allowed == tuple(f"10.0.{number}.{last}/32" for last in range(number % 6))
        assert (seen.rx, seen.tx, seen.handshake_s, seen.preshared) == (2**40 + number, number, number, None)
    assert state.peers[keys[2]].endpoint == "198.51.100.7:1002"
    assert state.peers[keys[3]].endpoint == "[2001:db8::7]:53"


def test_thousands_of_peers_go_in_messages_that_hold_them(module: wg_module.Module) -> None:
    generator = random.Random(5)
    wanted = [
        Change(
            samples.key(generator),
            (f"10.1.{n >> 8}.{n & 255}/32", f"fd66::1:{n:x}/128"),
            samples.key(generator),
        )
        for n in range(1000)
    ]
    device(module).apply(wanted)
    assert module.orders == [350, 350, 300]
    state = device(module).state()
    assert {key: seen.allowed for key, seen in state.peers.items()} == {
        one.key: one.allowed for one in wanted
    }


def test_a_dump_during_which_peers_came_or_went_is_asked_for_again(module: wg_module.Module) -> None:
    key = samples.key(random.Random(6))
    module.peers[raw(key)] = wg_module.Peer(rx=1)
    module.torn = 2
    assert device(module).state().peers[key].rx == 1
    module.torn = 99
    with pytest.raises(base.DriverError, match="changes too fast"):
        device(module).state()


def test_a_refusal_is_said_in_words(module: wg_module.Module) -> None:
    module.refuse = errno.EADDRINUSE
    with pytest.raises(base.DriverError, match="another program has its port"):
        device(module).configure(samples.key(random.Random(7)), 53)


def test_an_interface_that_is_gone_is_a_core_that_is_down(module: wg_module.Module) -> None:
    with pytest.raises(base.CoreDownError):
        device(module, "tg2").state()


def test_a_machine_without_the_module_says_so() -> None:
    if kernel.lacking() is None:
        pytest.skip("this machine has the module")
    with pytest.raises(base.DriverError):
        kernel.Kernel("tg1", "generation").state()


def test_a_peer_that_has_not_changed_is_the_same_object_as_before(module: wg_module.Module) -> None:
    idle, busy = (samples.key(random.Random(seed)) for seed in (8, 9))
    module.peers = {raw(idle): wg_module.Peer(rx=1), raw(busy): wg_module.Peer(rx=1)}
    under = device(module)
    before = under.state().peers
    module.peers[raw(busy)].rx = 2
    after = under.state().peers
    assert after[idle] is before[idle]
    assert after[busy].rx == 2


def test_a_back_end_that_is_forced_and_not_there_is_refused(tmp_path: Path) -> None:
    if kernel.lacking() is None:
        pytest.skip("this machine has the module")
    with pytest.raises(ValueError, match="the kernel's WireGuard cannot be used here"):
        driver.WireGuardDriver(options.Options(run_dir=tmp_path, backend="kernel"))
    assert choice.backend(options.Options(run_dir=tmp_path)) == "userspace"
