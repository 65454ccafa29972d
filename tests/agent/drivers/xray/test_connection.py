"""The agent's own client of gRPC with servers that misbehave, or behave as few do."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from agent.drivers import base
from agent.drivers.xray import calls, connection, frames

_LONG_S = 20.0
_STATUS = frames.block([(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")])
_ENDED = frames.END_HEADERS | frames.END_STREAM
_READY = frames.settings({})

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Later = tuple[bytes, ...] | None


async def _ask(channel: calls.Channel, request: bytes = b"", *, wait: bool = False) -> bytes:
    return await channel.call(connection.head("/test/any"), request, _LONG_S, wait=wait)


def _answer(stream: int, text: bytes = b"ok") -> bytes:
    headers = frames.frame(frames.HEADERS, frames.END_HEADERS, stream, _STATUS)
    return headers + frames.frame(
        frames.DATA, frames.END_STREAM, stream, b"\0\0\0\0" + bytes([len(text)]) + text
    )


def _going(last: int) -> bytes:
    return frames.frame(frames.GOAWAY, payload=last.to_bytes(4, "big") + bytes(4))


@contextlib.asynccontextmanager
async def serving(path: Path, serve: Serve) -> AsyncIterator[None]:
    """A server that waits at the end of the block until everybody who called has gone."""
    begun, ended = list[asyncio.StreamWriter](), asyncio.Semaphore(0)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(writer)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            ended.release()

    async with await asyncio.start_unix_server(handle, path), asyncio.timeout(_LONG_S):
        yield
        for _ in begun:
            await ended.acquire()


@contextlib.asynccontextmanager
async def answering(path: Path, *parts: bytes, ends: bool, later: Later = None) -> AsyncIterator[None]:
    """A server that answers the first call with the first part and so on, and then reads on or ends.

    On connections after the first it may have other parts. One that ends without any does not even say hello.
    """
    due = itertools.chain([parts], itertools.repeat(parts if later is None else later))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        now = next(due)
        writer.write(_READY if now else b"")
        for part in now:
            await reader.readuntil(b"/test/any")
            writer.write(part)
        while now and not ends and await reader.read(1 << 16):
            pass

    async with serving(path, serve):
        yield


def misbehaving(
    path: Path, *parts: bytes, ends: bool = False, later: Later = None, sent: bytes = b"", wait: bool = False
) -> bytes:
    """Ask such a server something."""

    async def scenario() -> bytes:
        async with answering(path, *parts, ends=ends, later=later):
            channel = calls.Channel(path)
            try:
                return await _ask(channel, sent, wait=wait)
            finally:
                channel.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize("sent", [b"", _going(1)], ids=["silent", "leaving"])
def test_a_server_that_ends_amid_a_call_is_down_at_once(tmp_path: Path, sent: bytes) -> None:
    with pytest.raises(base.CoreDownError, match="cannot be reached"):
        misbehaving(tmp_path / "s", sent, ends=True, later=(_answer(1),))


def test_a_server_that_ends_before_it_says_hello_is_waited_for_only_by_who_is_to(tmp_path: Path) -> None:
    assert misbehaving(tmp_path / "one", later=(_answer(1),), wait=True) == b"ok"
    with pytest.raises(base.CoreDownError, match="cannot be reached"):
        misbehaving(tmp_path / "two", later=(_answer(1),))


def test_what_a_leaving_server_has_begun_is_finished_and_the_rest_asked_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        parts = (b"", _going(1) + _answer(1, b"begun"))
        serves = answering(tmp_path / "s", *parts, ends=False, later=(_answer(1, b"anew"),))
        async with serves, asyncio.TaskGroup() as group:
            channel = calls.Channel(tmp_path / "s")
            tasks = [group.create_task(_ask(channel)) for _ in range(2)]
            assert [await task for task in tasks] == [b"begun", b"anew"]
            channel.close()

    asyncio.run(scenario())


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
        (frames.frame(frames.HEADERS, _ENDED, 1, frames.block([("grpc-status", "9" * 5_000)])), "unknown"),
        (frames.frame(frames.HEADERS, _ENDED, 1, frames.block([("grpc-status", "16")])), "unauthenticated"),
        (frames.frame(frames.HEADERS, _ENDED, 1, _STATUS), "internal"),
        (frames.saying(frames.RST_STREAM, 1, 2), "internal"),
        (frames.saying(frames.RST_STREAM, 1, frames.CANCEL), "cancelled"),
    ],
    ids=["no status", "new status", "no number", "long number", "status", "no message", "reset", "given up"],
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
    request, got = bytes(100_000), list[int]()
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

    async def scenario() -> None:
        async with serving(tmp_path / "s", serve):
            channel = calls.Channel(tmp_path / "s")
            assert await _ask(channel, request) == b""
            channel.close()

    asyncio.run(scenario())
    assert got == [frames.FIRST_WINDOW_BYTES, 0, len(request) + 5 - frames.FIRST_WINDOW_BYTES]


def test_a_request_of_many_frames_is_sent_whole(tmp_path: Path) -> None:
    wide = frames.settings({frames.INITIAL_WINDOW_SIZE: frames.WINDOW_BYTES})
    wide += frames.saying(frames.WINDOW_UPDATE, 0, 1 << 30)
    assert misbehaving(tmp_path / "s", wide + _answer(1), sent=bytes(16 << 20)) == b"ok"


def test_a_server_that_takes_no_calls_is_sent_none_until_it_says_how_many(tmp_path: Path) -> None:
    none, one = (frames.settings({frames.MAX_CONCURRENT_STREAMS: most}) for most in range(2))
    seen = list[int]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(frames.PREFACE))
        writer.write(none + _READY + frames.frame(frames.PING, payload=bytes(8)))
        async for frame in _frames(reader):
            if frame.kind in (frames.HEADERS, frames.PING):
                seen.append(frame.kind)
                writer.write(_answer(1) if frame.kind == frames.HEADERS else b"")
            if frame.kind == frames.PING:
                writer.write(frames.frame(frames.PING, payload=bytes(8)) if len(seen) == 1 else one)

    async def scenario() -> None:
        async with serving(tmp_path / "s", serve):
            channel = calls.Channel(tmp_path / "s")
            assert await _ask(channel) == b"ok"
            channel.close()

    asyncio.run(scenario())
    assert seen == [frames.PING, frames.PING, frames.HEADERS]


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[frames.Frame]:
    taken = frames.Reader()
    while some := await reader.read(1 << 16):
        for frame in taken.feed(some):
            yield frame


def test_the_rest_of_a_request_that_is_answered_early_is_given_up(tmp_path: Path) -> None:
    async def scenario() -> frames.Frame:
        given_up: asyncio.Future[frames.Frame] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(len(frames.PREFACE))
            writer.write(_READY)
            async for frame in _frames(reader):
                if frame.kind == frames.HEADERS:
                    writer.write(
                        frames.frame(frames.HEADERS, _ENDED, 1, frames.block([("grpc-status", "8")]))
                    )
                if frame.kind == frames.RST_STREAM:
                    given_up.set_result(frame)

        async with serving(tmp_path / "s", serve):
            channel = calls.Channel(tmp_path / "s")
            with pytest.raises(connection.RefusedError):
                await _ask(channel, bytes(100_000))
            async with asyncio.timeout(_LONG_S):
                found = await given_up
            channel.close()
            return found

    found = asyncio.run(scenario())
    assert (found.stream, frames.said(found.payload)) == (1, frames.CANCEL)


def test_a_call_that_the_server_did_not_begin_is_made_again_a_few_times(tmp_path: Path) -> None:
    refusals = [frames.saying(frames.RST_STREAM, stream, frames.REFUSED_STREAM) for stream in range(1, 11, 2)]
    assert misbehaving(tmp_path / "s", refusals[0], _answer(3)) == b"ok"
    assert misbehaving(tmp_path / "s", *refusals, later=(_answer(1),)) == b"ok"
    with pytest.raises(base.CoreDownError):
        misbehaving(tmp_path / "s", *refusals)


def test_an_answer_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 10)
    headers = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, _STATUS)
    with pytest.raises(connection.RefusedError, match="too large"):
        misbehaving(tmp_path / "s", headers + frames.frame(frames.DATA, 0, 1, bytes(11)))
