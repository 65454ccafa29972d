"""A crowd of real connections, each from an address of its own, and a real host that was told of all of them.

The listener is this process, the clients are one child and Xray's host another; Xray itself is left out. Both
children end with the block.
"""

import asyncio
import contextlib
import json
import resource
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from agent.drivers.xray import control, labels, runfile
from shared.names import EndpointId, UserId
from tests.kit import programs

ENDPOINT = EndpointId(1)
_PATIENCE_S = 60.0
_PIECE = 500
_HOST = (
    "import sys\nfrom agent.drivers.xray import runfile, watch\n"
    "watch.Watcher(runfile.decode_spec(sys.argv[1])).run()\n"
)
_CLIENTS = (
    "import socket, sys\nport, count = map(int, sys.argv[1:])\nheld = []\n"
    "for number in range(count):\n"
    "    one = socket.socket()\n"
    "    one.bind((f'127.1.{number >> 8}.{number & 255}', 0))\n"
    "    one.connect(('127.0.0.1', port))\n"
    "    held.append(one)\n"
    "    print(':'.join(map(str, one.getsockname())), flush=True)\n"
    "sys.stdin.read()\n"
)


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """The port they are connected to, how to ask the host, and its process."""

    port: int
    host: control.Control
    process: psutil.Process


@contextlib.asynccontextmanager
async def gathered(directory: Path, count: int) -> AsyncIterator[Crowd]:
    """So many connections; the first user has the first of them, and so on."""
    async with contextlib.AsyncExitStack() as open_until_the_end:
        async with asyncio.timeout(_PATIENCE_S):
            made = await _made(directory, count, open_until_the_end)
        yield made


async def _made(directory: Path, count: int, afterwards: contextlib.AsyncExitStack) -> Crowd:
    port = await afterwards.enter_async_context(_listening())
    clients = await afterwards.enter_async_context(_python(_CLIENTS, str(port), str(count)))
    sources = [(await _line(clients)) for _ in range(count)]
    place = runfile.Place(int(ENDPOINT), "vless", port, "127.0.0.1")
    spec = runfile.Spec(str(directory), str(directory / "lock"), 3600.0, None, "", (place,))
    host = await afterwards.enter_async_context(_python(_HOST, runfile.encode_spec(spec)))
    await _tell(directory / runfile.WEBHOOK_SOCKET, sources)
    asked = control.Control(directory / runfile.CONTROL_SOCKET)
    return Crowd(port=port, host=asked, process=psutil.Process(host.pid))


@contextlib.asynccontextmanager
async def _listening() -> AsyncIterator[int]:
    accepted: list[asyncio.StreamWriter] = []

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    server = await asyncio.start_server(hold, "127.0.0.1", 0, backlog=4096)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        for writer in accepted:
            writer.close()
        server.close()
        await server.wait_closed()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextlib.asynccontextmanager
async def _python(program: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-c", program, *arguments]
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=programs.ROOT)
    try:
        yield child
    finally:
        child.kill()
        await child.wait()


async def _line(child: asyncio.subprocess.Process) -> str:
    if child.stdout is None or not (line := await child.stdout.readline()):
        raise RuntimeError("the clients could not all connect")
    return line.decode().strip()


async def _tell(webhook: Path, sources: list[str]) -> None:
    reader, writer = await _connected(webhook)
    for start in range(0, len(sources), _PIECE):
        piece = enumerate(sources[start : start + _PIECE], start + 1)
        writer.write(b"".join(_event(UserId(user), source) for user, source in piece))
        for _ in sources[start : start + _PIECE]:
            await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def _connected(webhook: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_unix_connection(webhook)
        except (FileNotFoundError, ConnectionRefusedError):
            await asyncio.sleep(0.01)  # its process has yet to begin


def _event(user: UserId, source: str) -> bytes:
    body = json.dumps({"email": labels.email(user, ENDPOINT), "source": source}).encode()
    return b"POST /connection HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
