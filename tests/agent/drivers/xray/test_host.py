"""The host's own side: what others may send it, and how its register stays small."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.drivers import memfiles
from agent.drivers.xray import census, control, output, runfile, sockets, watch, webhook
from tests.agent.drivers.xray import rig

HOSTILE = [
    b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    b"\xff" * 20_000,
]

NONSENSE = [b"", b"no", b"[]", b'{"op": "dance"}', b'{"op": "connections", "emails": [[]]}']

UNREADABLE = [
    "",
    "{}",
    "[1]",
    "[3, 1, 2, 3, 4, []]",
    '[1, "x", 2, "g", "d", []]',
    '[1, 1, 2, "g", "d", [[1]]]',
]

BODIES = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"\xff",
    b"[" * 60_000,
    b'{"email": "u1-e1", "source": 5}',
    b'{"email": "u1-e1", "source": "1.2.3.4:99999"}',
    b'{"email": "u1-e1", "source": "[::g]:80"}',
    b'{"email": null, "source": "1.2.3.4:80"}',
    b'{"email": "u0-e1", "source": "1.2.3.4:80"}',
    b'{"email": {"a": 1}, "source": "1.2.3.4:80"}',
]


def request(body: bytes) -> bytes:
    return b"POST /connection HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def post(path: Path, data: bytes) -> bytes:
    """What the host answers to these bytes, until it closes or we have one answer."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(data)
        try:
            return await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.close()


@pytest.mark.e2e
def test_malformed_requests_harm_only_their_own_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab:
            for data in HOSTILE:
                assert (await post(lab.chosen.webhook, data)).startswith(b"HTTP/1.1 400 ")
            for body in BODIES:
                assert (await post(lab.chosen.webhook, request(body))).startswith(b"HTTP/1.1 204 ")
            stats = await lab.host_stats()
            assert (stats["malformed"], stats["foreign"], stats["events"]) == (len(HOSTILE), len(BODIES), 0)
            assert await lab.works(1)
            await rig.until(lambda: lab.heard(1))

    asyncio.run(scenario())


@pytest.mark.e2e
def test_questions_that_make_no_sense_are_answered_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path) as lab:
            reader, writer = await asyncio.open_unix_connection(lab.chosen.control)
            for line in (
                b"",
                b"nonsense",
                b"[]",
                b'{"op": "dance"}',
                b'{"op": "connections", "emails": [[]]}',
            ):
                writer.write(line + b"\n")
                async with asyncio.timeout(5):
                    assert "error" in json.loads(await reader.readline())
            writer.close()
            assert (await lab.host_stats())["connections"] == 0

    asyncio.run(scenario())


@pytest.mark.e2e
def test_events_keep_one_connection_open(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path) as lab:
            reader, writer = await asyncio.open_unix_connection(lab.chosen.webhook)
            event = request(b'{"email": "u1-e1", "source": "192.0.2.1:80"}')
            writer.write(event * 3 + event[:30])
            async with asyncio.timeout(5):
                assert await reader.readexactly(len(webhook.ANSWER) * 3)
                writer.write(event[30:])
                assert await reader.readexactly(len(webhook.ANSWER))
            writer.close()
            known = await control.Control(lab.chosen.control).known(["u1-e1", "u2-e1"])
            assert known.streams == {"u1-e1": {sockets.peer("192.0.2.1", 80)}}

    asyncio.run(scenario())


@pytest.mark.e2e
def test_the_register_forgets_connections_that_are_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab, lab.tunnel(1) as tunnel:
            assert await tunnel.get("/bytes/10") == 10
            reader, writer = await asyncio.open_unix_connection(lab.chosen.webhook)
            for number in range(census.PRUNE_EVENTS + 10):
                body = b'{"email": "u2-e1", "source": "192.0.2.%d:%d"}' % (number % 200, number + 1)
                writer.write(request(body))
                await writer.drain()
            async with asyncio.timeout(10):
                await reader.readexactly(len(webhook.ANSWER) * (census.PRUNE_EVENTS + 10))
            writer.close()
            await rig.until(lambda: _pruned(lab))
            known = await control.Control(lab.chosen.control).known(None)
            assert len(known.streams["u1-e1"]) == 1
            assert len(known.streams.get("u2-e1", ())) < 1000

    asyncio.run(scenario())


async def _pruned(lab: rig.Rig) -> bool:
    return (await lab.host_stats())["dropped"] > census.PRUNE_EVENTS - 1000


def test_output_in_memory_stays_bounded_and_keeps_its_head() -> None:
    descriptor = memfiles.create("test", b"Xray 26.1.1 started\n")
    try:
        os.write(descriptor, b"x" * watch.MAX_OUTPUT_BYTES)
        watch.trim(descriptor)
        os.write(descriptor, b"the end")
        kept = memfiles.read(descriptor)
        assert len(kept) == watch.KEPT_OUTPUT_BYTES + len("the end")
        assert kept.endswith("the end")
        assert output.version(kept) == "26.1.1"
    finally:
        os.close(descriptor)


@pytest.mark.e2e
def test_a_second_host_for_the_same_run_directory_ends_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab:
            before = runfile.read(lab.chosen.run_dir)
            spec = runfile.Spec(str(lab.chosen.run_dir), str(lab.chosen.lock_file), 60, None, "", ())
            done = await asyncio.to_thread(_host, spec)
            assert (done.returncode, done.stderr) == (75, "another host already runs in this run directory\n")
            assert runfile.read(lab.chosen.run_dir) == before
            assert await lab.works(1)

    asyncio.run(scenario())


def _host(spec: runfile.Spec) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent.drivers.xray.host", runfile.encode_spec(spec)],
        cwd=Path(__file__).resolve().parents[4],
        input="{}",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_spec_comes_back_as_it_went() -> None:
    spec = runfile.Spec("/run/x", "/run/lock", 1.5, None, "abc", (runfile.Place(1, "vless", 443, "::"),))
    assert runfile.decode_spec(runfile.encode_spec(spec)) == spec


def test_the_run_file_of_an_earlier_version_is_understood(tmp_path: Path) -> None:
    (tmp_path / runfile.RUN_FILE).write_text('[1, 1, 2, "g", "d", [[1, "vless", 443, "::"]]]')
    assert runfile.read(tmp_path) == runfile.Run(1, 2, "g", "d", (runfile.Place(1, "vless", 443, "::"),))


def test_a_run_file_that_cannot_be_understood_is_no_run(tmp_path: Path) -> None:
    run = runfile.Run(1, 2, "g", "d", (runfile.Place(1, "vless", 443, "::"),))
    runfile.write(tmp_path, run)
    assert runfile.read(tmp_path) == run
    for text in (
        "",
        "{}",
        "[1]",
        "[3, 1, 2, 3, 4, []]",
        '[1, "x", 2, "g", "d", []]',
        '[1, 1, 2, "g", "d", [[1]]]',
    ):
        (tmp_path / runfile.RUN_FILE).write_text(text)
        assert runfile.read(tmp_path) is None
