"""Requests go over connections that are kept; whatever a server does ends in an answer or in a sentence."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from agent import wire

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Server:
    """Says the next of its lines to each request; None closes the connection instead, "" says nothing."""

    says: list[str | None]
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = _LENGTH.search(head)
                    self.heard.append(head + await reader.readexactly(int(length[1]) if length else 0))
                    self.asked.set()
                    answer = self.says.pop(0)
                    if answer is None:
                        return
                    writer.write(answer.encode())
        finally:
            self.left.set()
            writer.close()


@contextlib.asynccontextmanager
async def serving(*says: str | None) -> AsyncIterator[tuple[Server, wire.Wire]]:
    server = Server(list(says))
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        it = wire.Wire(f"http://127.0.0.1:{port}/above", None)
        try:
            yield server, it
        finally:
            await it.close()


def told(says: Sequence[str | None], scenario: Callable[[Server, wire.Wire], Awaitable[None]]) -> Server:
    async def whole() -> Server:
        async with serving(*says) as (server, it):
            await scenario(server, it)
            return server

    return asyncio.run(whole())


async def get(it: wire.Wire, answer_s: float = 5.0) -> wire.Answer:
    return await it.ask("GET", "/x?y=1", {"Authorization": "Bearer sesame"}, None, answer_s)


def ok(body: str) -> str:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}"


def test_questions_in_turn_share_one_connection() -> None:
    async def scenario(_: Server, it: wire.Wire) -> None:
        assert (await get(it)).body == b"one"
        assert (await it.ask("POST", "/z", {}, b"body", 5.0)).body == b"two"

    server = told([ok("one"), ok("two")], scenario)
    assert server.connections == 1
    assert server.heard[0].startswith(b"GET /above/x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert server.heard[1].startswith(b"POST /above/z HTTP/1.1\r\n")
    assert server.heard[1].endswith(b"Content-Length: 4\r\n\r\nbody")


def test_questions_at_once_have_a_connection_each() -> None:
    async def scenario(_: Server, it: wire.Wire) -> None:
        both = await asyncio.gather(get(it), get(it))
        assert sorted(bytes(one.body) for one in both) == [b"one", b"two"]

    assert told([ok("one"), ok("two")], scenario).connections == 2


@pytest.mark.parametrize(
    ("said", "body", "connections"),
    [
        (_CHUNKED + "3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: r\r\n\r\n", b"abcde", 1),
        ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok("late"), b"late", 1),
        ("HTTP/1.1 204 No Content\r\n\r\n", b"", 1),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nxy", b"xy", 2),
    ],
)
def test_every_way_to_end_an_answer_is_understood(said: str, body: bytes, connections: int) -> None:
    async def scenario(_: Server, it: wire.Wire) -> None:
        assert (await get(it)).body == body
        assert (await get(it)).body == b"next"

    assert told([said, ok("next")], scenario).connections == connections


def test_an_answer_may_last_until_the_connection_ends() -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        writer.close()

    async def whole() -> None:
        async with await asyncio.start_server(say, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            assert (await get(wire.Wire(f"http://127.0.0.1:{port}", None))).body == b"all of it"

    asyncio.run(whole())


def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async def scenario(_: Server, it: wire.Wire) -> None:
        assert (await get(it)).body == b"one"
        assert (await get(it)).body == b"two"

    # The second request is heard on the kept connection, which ends without a word.
    server = told([ok("one"), None, ok("two")], scenario)
    assert (server.connections, len(server.heard)) == (2, 3)


def test_a_new_connection_that_ends_without_a_word_is_a_failure_and_the_request_is_not_repeated() -> None:
    async def scenario(_: Server, it: wire.Wire) -> None:
        with pytest.raises(wire.WireError, match="without an answer"):
            await get(it)

    assert len(told([None, ok("never")], scenario).heard) == 1


@pytest.mark.parametrize(
    "said",
    [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        _CHUNKED + "1\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nX: " + 200_000 * "x",
    ],
    ids=["other", "wrong chunk", "long head"],
)
def test_what_is_not_an_answer_is_said_in_words_without_the_request(said: str) -> None:
    async def scenario(_: Server, it: wire.Wire) -> None:
        with pytest.raises(wire.WireError) as caught:
            await get(it)
        assert "sesame" not in str(caught.value)
        assert (await get(it)).body == b"next"

    assert told([said, ok("next")], scenario).connections == 2


def test_silence_ends_with_the_patience() -> None:
    async def scenario(server: Server, it: wire.Wire) -> None:
        with pytest.raises(wire.SilentError):
            await get(it, answer_s=0.05)
        await asyncio.wait_for(server.left.wait(), 5)

    told([""], scenario)


def test_half_an_answer_is_none() -> None:
    async def scenario(_: Server, it: wire.Wire) -> None:
        with pytest.raises(wire.WireError):
            await get(it, answer_s=0.05)

    told(["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"], scenario)


def test_a_question_whose_asker_is_cancelled_ends_at_once() -> None:
    async def scenario(server: Server, it: wire.Wire) -> None:
        asked = asyncio.ensure_future(get(it, answer_s=60.0))
        await asyncio.wait_for(server.asked.wait(), 5)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await asyncio.wait_for(server.left.wait(), 5)

    told([""], scenario)


def test_a_question_ends_at_once_when_the_server_goes() -> None:
    async def scenario(server: Server, it: wire.Wire) -> None:
        assert (await get(it)).body == b"one"
        with pytest.raises(wire.WireError, match=r"(?i)connect"):
            await asyncio.wait_for(get(it, answer_s=60.0), 5)
        assert len(server.heard) == 2

    async def whole() -> None:
        server = Server([ok("one"), None])
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        it = wire.Wire(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", None)
        asked = asyncio.ensure_future(scenario(server, it))
        await asyncio.wait_for(server.asked.wait(), 5)
        listener.close()
        await asked
        await it.close()

    asyncio.run(whole())


def test_nobody_there_is_said_in_words() -> None:
    async def scenario() -> None:
        async with serving() as (_, it):
            pass
        with pytest.raises(wire.WireError, match=r"(?i)connect"):
            await get(it)

    asyncio.run(scenario())


def test_a_large_request_and_a_large_answer_pass() -> None:
    sent, received = b"s" * 3_000_000, "r" * 3_000_000

    async def scenario(_: Server, it: wire.Wire) -> None:
        assert len((await it.ask("POST", "/", {}, sent, 10.0)).body) == len(received)

    assert told([ok(received)], scenario).heard[0].endswith(sent)


@pytest.mark.parametrize("host", [".example", "a" * 64 + ".example", "-"])
def test_a_name_that_cannot_be_one_is_said_in_words(host: str) -> None:
    async def scenario() -> None:
        with pytest.raises(wire.WireError):
            await get(wire.Wire(f"https://{host}:1", ssl.create_default_context(cadata=None)))

    asyncio.run(scenario())
