"""Raw client addresses never reach a disk or a log."""

import socket
from pathlib import Path

import pytest

from tests.kit.fleet import HOMES, Fleet

pytestmark = pytest.mark.e2e

_MB = 1_000_000


@pytest.mark.netns
def test_client_addresses_are_in_no_file_and_no_log(fleet: Fleet) -> None:
    alice, bob = fleet.add_user("alice", quota_bytes=3 * _MB), fleet.add_user("bob")
    fleet.served(alice)
    fleet.served(bob)
    over = fleet.download(alice, 20 * _MB, rate=5 * _MB)
    fleet.download(bob, _MB, place="cafe", kind="xray").result()
    assert over.result().how == "cut"
    fleet.settled(bob, fleet.delivered(bob))

    searched = fleet.files_of_servers()
    assert {"collector.log", "agent.log"} <= {path.name for path in searched}
    # The collector's own address is written down: the search would have found others.
    assert _holding(searched, fleet.lab["hub"].address)
    assert not [name for place in HOMES for name in _holding(searched, fleet.lab[place].address)]


def _holding(files: list[Path], address: str) -> list[str]:
    packed = socket.inet_aton(address)
    needles = (address.encode(), packed.hex().encode(), packed)
    return [path.name for path in files if any(needle in path.read_bytes() for needle in needles)]
