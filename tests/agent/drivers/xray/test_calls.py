"""Calls over the agent's own client, of a real gRPC server and of servers that misbehave."""

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from agent.drivers import base
from agent.drivers.xray import calls, connection, frames

_LONG_S = 20.0
_LIMIT = 3
_LARGE = 1 << 28


class Server(grpc.GenericRpcHandler):  # type: ignore[type-arg] # subscripts exist in its stubs only
    """Answers `/echo` with the request, `/refuse` with its text, and `/hold` once it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.given_up = threading.Event()
        self.most = self.held = 0
        self._counting = threading.Lock()

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """The method of this path; one that is not known is refused by gRPC itself."""
        known = {"/test/echo": self._echo, "/test/refuse": self._refuse, "/test/hold": self._hold}
        found = known.get(str(details.method))
        return grpc.unary_unary_rpc_method_handler(found) if found else None

    @staticmethod
    def _echo(request: bytes, _context: grpc.ServicerContext) -> bytes:
        return request

    @staticmethod
    def _refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, request.decode())
        raise AssertionError

    def _hold(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(lambda: None if self.let_go.is_set() else self.given_up.set())
        with self._counting:
            self.held += 1
            self.most = max(self.most, self.held)
        self.let_go.wait(3 * _LONG_S)
        with self._counting:
            self.held -= 1
        return request


@contextlib.contextmanager
def served(path: Path) -> Iterator[Server]:
    """A real server on this socket, which takes few calls of one connection at once."""
    options = [
        *(("grpc.max_receive_message_length", _LARGE), ("grpc.max_send_message_length", _LARGE)),
        ("grpc.max_concurrent_streams", _LIMIT),
    ]
    with futures.ThreadPoolExecutor(2 * _LIMIT) as pool:
        server, handler = grpc.server(pool, options=options), Server()
        server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(f"unix:{path}")
        server.start()
        try:
            yield handler
        finally:
            handler.let_go.set()
            server.stop(None).wait()


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[calls.Channel]:
    """A channel that leaves nothing behind: neither a task nor an open socket nor an error unheard."""
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unheard.append(context))
    channel = calls.Channel(path)
    try:
        yield channel
    finally:
        await channel.close()
        gc.collect()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not unheard


async def ask(
    channel: calls.Channel,
    method: str,
    request: bytes = b"",
    deadline_s: float = _LONG_S,
    *,
    wait: bool = False,
) -> bytes:
    return await channel.call(connection.head(f"/test/{method}"), request, deadline_s, wait=wait)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(_LONG_S):
        while not true():  # noqa: ASYNC110 - what is waited for happens in another thread
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 16_384, 65_530, 65_536, 6_000_000])
def test_messages_of_all_sizes_come_through_both_ways(tmp_path: Path, size: int) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "s") as channel:
            message = bytes(number % 251 for number in range(size))
            assert await ask(channel, "echo", message) == message

    with served(tmp_path / "s"):
        asyncio.run(scenario())


def test_more_than_the_window_of_a_connection_comes_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: frames.WINDOW_BYTES})
    monkeypatch.setattr(connection, "_HELLO", narrow)
    monkeypatch.setattr(connection, "_REOPEN_BYTES", frames.FIRST_WINDOW_BYTES // 2)

    async def scenario() -> None:
        async with opened(tmp_path / "s") as channel:
            for _ in range(3):
                assert len(await ask(channel, "echo", bytes(1_000_000))) == 1_000_000

    with served(tmp_path / "s"):
        asyncio.run(scenario())


def test_calls_beyond_what_the_server_takes_at_once_wait_for_their_turn(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        async with opened(tmp_path / "s") as channel, asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(channel, "hold", b"%d" % number)) for number in range(4 * _LIMIT)]
            await until(lambda: server.held == _LIMIT)
            server.let_go.set()
            assert [await task for task in tasks] == [b"%d" % number for number in range(4 * _LIMIT)]
            assert server.most == _LIMIT

    with served(tmp_path / "s") as server:
        asyncio.run(scenario(server))


def test_an_error_comes_with_its_text_whatever_is_in_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "s") as channel:
            for text in ("no such thing", "50 % naïve ☃\n", "x" * 5_000):
                with pytest.raises(connection.RefusedError) as refused:
                    await ask(channel, "refuse", text.encode())
                assert (refused.value.code, refused.value.text) == ("not_found", text)
            with pytest.raises(connection.RefusedError) as refused:
                await ask(channel, "unheard-of")
            assert refused.value.code == "unimplemented"

    with served(tmp_path / "s"):
        asyncio.run(scenario())


def test_a_call_ends_at_its_deadline_and_the_server_hears_of_it(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        async with opened(tmp_path / "s") as channel:
            with pytest.raises(TimeoutError):
                await ask(channel, "hold", deadline_s=0.1)
            await until(server.given_up.is_set)
            assert await ask(channel, "echo", b"still there") == b"still there"

    with served(tmp_path / "s") as server:
        asyncio.run(scenario(server))


def test_a_cancelled_caller_is_cancelled_and_the_server_hears_of_it(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        async with opened(tmp_path / "s") as channel, asyncio.TaskGroup() as group:
            task = group.create_task(ask(channel, "hold"))
            await until(lambda: server.held == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(server.given_up.is_set)

    with served(tmp_path / "s") as server:
        asyncio.run(scenario(server))


def test_calls_under_way_end_as_the_core_being_down_when_another_task_closes_the_channel(
    tmp_path: Path,
) -> None:
    async def scenario(server: Server) -> None:
        async def held(channel: calls.Channel) -> None:
            with pytest.raises(base.CoreDownError, match="closed meanwhile"):
                await ask(channel, "hold")
            task = asyncio.current_task()
            assert task
            assert not task.cancelling()

        async with opened(tmp_path / "s") as channel, asyncio.TaskGroup() as group:
            for _ in range(2 * _LIMIT):
                group.create_task(held(channel))
            await until(lambda: server.held == _LIMIT)
            await channel.close()
        with pytest.raises(base.CoreDownError, match="has been closed"):
            await ask(channel, "echo")

    with served(tmp_path / "s") as server:
        asyncio.run(scenario(server))


def test_a_call_waits_for_a_server_only_if_it_is_to(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "s") as channel, asyncio.TaskGroup() as group:
            waiting = group.create_task(ask(channel, "echo", b"a", wait=True))
            await asyncio.sleep(0)
            with pytest.raises(base.CoreDownError):
                await ask(channel, "echo")
            with pytest.raises(TimeoutError):
                await ask(channel, "echo", deadline_s=0.05, wait=True)
            assert not waiting.done()
            with served(tmp_path / "s"):
                assert await waiting == b"a"

    asyncio.run(scenario())


def test_the_next_call_after_a_loss_makes_another_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "s") as channel:
            with served(tmp_path / "s"):
                assert await ask(channel, "echo", b"a") == b"a"
            with pytest.raises(base.CoreDownError):
                await ask(channel, "echo", b"b")
            with served(tmp_path / "s"):
                assert await ask(channel, "echo", b"c", wait=True) == b"c"

    asyncio.run(scenario())


# --- servers that misbehave --------------------------------------------------------------------------------

_STATUS = frames.block([(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")])
_ENDED = frames.END_HEADERS | frames.END_STREAM
_READY = frames.settings({})


@contextlib.asynccontextmanager
async def answering(path: Path, *parts: bytes, ends: bool = False) -> AsyncIterator[None]:
    """A server that answers the first call with the first part and so on, and then reads on or ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            writer.write(_READY)
            for part in parts:
                await reader.readuntil(b"/test/any")
                writer.write(part)
            while not ends and await reader.read(1 << 16):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async with await asyncio.start_unix_server(serve, path) as server:
        yield
        server.close()


def misbehaving(path: Path, *parts: bytes, ends: bool = False) -> bytes:
    """Ask such a server something."""

    async def scenario() -> bytes:
        async with answering(path, *parts, ends=ends):
            channel = calls.Channel(path)
            try:
                return await ask(channel, "any")
            finally:
                await channel.close()

    return asyncio.run(scenario())


def test_a_server_that_ends_amid_a_call_is_down_at_once(tmp_path: Path) -> None:
    with pytest.raises(base.CoreDownError, match="cannot be reached"):
        misbehaving(tmp_path / "s", b"", ends=True)


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frames.frame(frames.DATA, payload=bytes(frames.FRAME_BYTES + 1)),
        frames.frame(frames.HEADERS, _ENDED, 1, b"\xff\xff\xff\xff\xff"),
        frames.frame(frames.GOAWAY, payload=bytes(8)),
        *(frames.frame(kind, payload=b"short") for kind in (frames.SETTINGS, frames.WINDOW_UPDATE)),
    ],
    ids=["another protocol", "large", "headers", "leaving", "settings", "window"],
)
def test_a_server_that_does_not_go_on_is_down(tmp_path: Path, sent: bytes) -> None:
    with pytest.raises(base.CoreDownError):
        misbehaving(tmp_path / "s", sent)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frames.frame(frames.HEADERS, _ENDED, 1, frames.block([(":status", "503")])), "unknown"),
        (frames.frame(frames.HEADERS, _ENDED, 1, frames.block([("grpc-status", "99")])), "unknown"),
        (frames.frame(frames.HEADERS, _ENDED, 1, frames.block([("grpc-status", "no")])), "unknown"),
        (frames.frame(frames.HEADERS, _ENDED, 1, frames.block([("grpc-status", "16")])), "unauthenticated"),
        (frames.frame(frames.HEADERS, _ENDED, 1, _STATUS), "internal"),
        (frames.saying(frames.RST_STREAM, 1, 2), "internal"),
        (frames.saying(frames.RST_STREAM, 1, frames.CANCEL), "cancelled"),
    ],
    ids=["no status", "new status", "no number", "status", "no message", "reset", "given up"],
)
def test_an_answer_that_is_none_is_a_refusal(tmp_path: Path, sent: bytes, code: str) -> None:
    with pytest.raises(connection.RefusedError) as refused:
        misbehaving(tmp_path / "s", sent)
    assert refused.value.code == code


_ROOM_FOR_ALL = frames.saying(frames.WINDOW_UPDATE, 0, 100_000)
_ROOM_FOR_ONE = frames.saying(frames.WINDOW_UPDATE, 1, 100_000)
_ROOM_FOR_EACH = frames.settings({frames.INITIAL_WINDOW_SIZE: 200_000})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (_ROOM_FOR_ALL, _ROOM_FOR_ONE),
        (_ROOM_FOR_ONE, _ROOM_FOR_ALL),
        (_ROOM_FOR_ALL, _ROOM_FOR_EACH),
        (_ROOM_FOR_EACH, _ROOM_FOR_ALL),
    ],
    ids=["all, one", "one, all", "all, each", "each, all"],
)
def test_a_request_is_sent_no_faster_than_the_server_makes_room(
    tmp_path: Path, first: bytes, second: bytes
) -> None:
    request, got, done = bytes(100_000), list[int](), asyncio.Event()
    ping = frames.frame(frames.PING, payload=bytes(8))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def data(enough: Callable[[frames.Frame, int], bool]) -> int:
            size = 0
            async for frame in coming:
                size += len(frame.payload) if frame.kind == frames.DATA else 0
                if enough(frame, size):
                    break
            return size

        await reader.readexactly(len(frames.PREFACE))
        coming = _frames(reader)
        writer.write(_READY)
        got.append(await data(lambda _, size: size >= frames.FIRST_WINDOW_BYTES))
        writer.write(first + ping)
        got.append(await data(lambda frame, _: frame.kind == frames.PING))
        writer.write(second)
        got.append(
            await data(lambda frame, _: frame.kind == frames.DATA and frame.flags == frames.END_STREAM)
        )
        writer.write(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, _STATUS))
        writer.write(frames.frame(frames.DATA, frames.END_STREAM, 1, bytes(5)))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        done.set()

    async def scenario() -> None:
        async with await asyncio.start_unix_server(serve, tmp_path / "s"):
            channel = calls.Channel(tmp_path / "s")
            assert await ask(channel, "any", request) == b""
            await channel.close()
            await done.wait()

    asyncio.run(scenario())
    assert got == [frames.FIRST_WINDOW_BYTES, 0, len(request) + 5 - frames.FIRST_WINDOW_BYTES]


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[frames.Frame]:
    taken = frames.Reader()
    while some := await reader.read(1 << 16):
        for frame in taken.feed(some):
            yield frame


def test_a_call_that_the_server_did_not_begin_is_made_again_a_few_times(tmp_path: Path) -> None:
    refusals = [frames.saying(frames.RST_STREAM, stream, frames.REFUSED_STREAM) for stream in range(1, 11, 2)]
    answer = frames.frame(frames.HEADERS, frames.END_HEADERS, 3, _STATUS)
    answer += frames.frame(frames.DATA, frames.END_STREAM, 3, b"\0\0\0\0\2ok")
    assert misbehaving(tmp_path / "s", refusals[0], answer) == b"ok"
    with pytest.raises(base.CoreDownError):
        misbehaving(tmp_path / "s", *refusals)


def test_an_answer_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 10)
    headers = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, _STATUS)
    with pytest.raises(connection.RefusedError, match="too large"):
        misbehaving(tmp_path / "s", headers + frames.frame(frames.DATA, 0, 1, bytes(11)))


def test_a_server_that_hangs_is_given_until_the_deadline(tmp_path: Path) -> None:
    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(tmp_path / "s"))
            silent.listen()
            async with opened(tmp_path / "s") as channel:
                with pytest.raises(TimeoutError):
                    await ask(channel, "echo", bytes(1_000_000), deadline_s=0.1)

    asyncio.run(scenario())
