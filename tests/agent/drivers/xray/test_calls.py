"""Calls of a real gRPC server over the agent's own client."""

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
        channel.close()
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
            channel.close()
        with pytest.raises(base.CoreDownError, match="has been closed"):
            await ask(channel, "echo")

    with served(tmp_path / "s") as server:
        asyncio.run(scenario(server))


def test_a_call_whose_connection_is_only_being_made_ends_when_the_channel_is_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async def asked(channel: calls.Channel) -> None:
            with pytest.raises(base.CoreDownError, match="closed"):
                await ask(channel, "echo")

        async with opened(tmp_path / "s") as channel, asyncio.TaskGroup() as group:
            group.create_task(asked(channel))
            await asyncio.sleep(0)
            channel.close()

    with served(tmp_path / "s"):
        asyncio.run(scenario())


def test_calls_under_way_are_finished_when_a_connection_has_no_number_left_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "LAST_STREAM", 3)

    async def scenario(server: Server) -> None:
        async with opened(tmp_path / "s") as channel, asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(channel, "hold", b"a")) for _ in range(2)]
            await until(lambda: server.held == len(tasks))
            assert await ask(channel, "echo", b"b") == b"b"
            server.let_go.set()
            assert [await task for task in tasks] == [b"a", b"a"]

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


def test_a_server_that_hangs_or_has_no_room_is_given_until_the_deadline(tmp_path: Path) -> None:
    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(tmp_path / "s"))
            silent.listen(0)
            async with opened(tmp_path / "s") as channel, opened(tmp_path / "s") as another:
                with pytest.raises(TimeoutError):
                    await ask(channel, "echo", bytes(1_000_000), deadline_s=0.1)
                with pytest.raises(base.CoreDownError):
                    await ask(another, "echo")
                with pytest.raises(TimeoutError):
                    await ask(another, "echo", deadline_s=0.1, wait=True)

    asyncio.run(scenario())
