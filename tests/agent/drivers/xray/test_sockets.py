"""Listing and ending connections with the kernel itself."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from agent.drivers.xray import sockets

REFUSAL = sockets.refusal()

can_cut = pytest.mark.skipif(REFUSAL is not None, reason=f"connections cannot be cut here: {REFUSAL}")


@contextlib.contextmanager
def pair(listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and the server's end of its connection."""
    with socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as client:
        client.settimeout(5)
        server, _ = listener.accept()
        with server:
            yield client, server


@contextlib.contextmanager
def listening(*, dual: bool) -> Iterator[socket.socket]:
    """A listener, dual-stack as Go makes them or for IPv4 alone."""
    family, host = (socket.AF_INET6, "::") if dual else (socket.AF_INET, "127.0.0.1")
    with socket.create_server((host, 0), family=family, dualstack_ipv6=dual) as listener:
        yield listener


@pytest.mark.parametrize("dual", [True, False])
def test_connections_of_a_port_are_listed_with_their_peers(*, dual: bool) -> None:
    with (
        listening(dual=dual) as listener,
        listening(dual=dual) as other,
        pair(listener) as (one, _),
        pair(listener) as (two, _),
        pair(other),
    ):
        found = {entry.peer for entry in sockets.connections(listener.getsockname()[1])}
        assert found == {sockets.peer(*client.getsockname()) for client in (one, two)}


def test_a_listener_is_seen_and_is_no_connection() -> None:
    with listening(dual=True) as listener:
        port = listener.getsockname()[1]
        assert sockets.listening(port)
        assert sockets.connections(port) == []
    assert not sockets.listening(port)


@can_cut
@pytest.mark.parametrize("dual", [True, False])
def test_exactly_the_chosen_connection_is_ended(*, dual: bool) -> None:
    with listening(dual=dual) as listener, pair(listener) as (one, _), pair(listener) as (two, kept):
        wanted = sockets.peer(*one.getsockname())
        targets = [entry for entry in sockets.connections(listener.getsockname()[1]) if entry.peer == wanted]
        assert sockets.end(targets) == sockets.Ended(1, 0)
        with pytest.raises(ConnectionResetError):
            one.recv(1)
        kept.send(b"x")
        assert two.recv(1) == b"x"
        assert sockets.end(targets) == sockets.Ended(0, 0)  # gone already: neither ended nor failed


@can_cut
def test_more_connections_than_one_batch_are_ended() -> None:
    with listening(dual=True) as listener, contextlib.ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(pair(listener))
        port = listener.getsockname()[1]
        assert sockets.end(sockets.connections(port)) == sockets.Ended(150, 0)
        assert sockets.connections(port) == []


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "::g", "1.2.3.4 "])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        sockets.peer(text, 1)
