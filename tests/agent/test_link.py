"""Tokens are renewed in time, only the collector can revoke, and only the pinned CA is believed."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from agent import link, wire
from agent.identity import Identity
from shared.messages import DesiredState, Heartbeat, Token
from shared.names import NodeId
from tests.agent import fleet, site

BEAT = Heartbeat(
    cpu_percent=0,
    memory_percent=0,
    bandwidth_in_bps=0,
    bandwidth_out_bps=0,
    latency_ms=0,
    generation=0,
    agent_version="0",
)


def run(scenario: Callable[[link.Link, fleet.Collector], Awaitable[None]]) -> fleet.Collector:
    collector = fleet.Collector()

    async def whole() -> None:
        it = fleet.linked(collector)
        try:
            await scenario(it, collector)
        finally:
            await it.close()

    asyncio.run(whole())
    return collector


def test_one_token_serves_many_calls_at_once() -> None:
    async def scenario(it: link.Link, _: fleet.Collector) -> None:
        async with asyncio.TaskGroup() as group:
            for _number in range(10):
                group.create_task(it.heartbeat(BEAT))

    collector = run(scenario)
    assert collector.tokens == 1
    assert len(collector.beats) == 10


@pytest.mark.parametrize(("chance", "kept_s", "renewed_s"), [(0.0, 69, 71), (0.99, 78, 81)])
def test_a_token_is_renewed_before_it_expires(chance: float, kept_s: float, renewed_s: float) -> None:
    now_s = 1000.0

    async def scenario() -> None:
        nonlocal now_s
        collector = fleet.Collector(token_life_s=100)
        it = link.Link(fleet.IDENTITY, over=collector, clock=lambda: now_s, chance=lambda: chance)
        tokens = []
        for later_s in (0.0, kept_s, renewed_s):
            now_s = 1000.0 + later_s
            await it.heartbeat(BEAT)
            tokens.append(collector.tokens)
        await it.close()
        assert tokens == [1, 1, 2]

    asyncio.run(scenario())


def test_a_token_that_is_not_accepted_is_fetched_anew_once() -> None:
    async def scenario(it: link.Link, collector: fleet.Collector) -> None:
        await it.heartbeat(BEAT)
        collector.tokens += 1
        await it.heartbeat(BEAT)

    assert len(run(scenario).beats) == 2


def test_a_node_whose_credentials_are_refused_is_revoked() -> None:
    async def scenario(it: link.Link, collector: fleet.Collector) -> None:
        await it.heartbeat(BEAT)
        collector.revoked = True
        with pytest.raises(link.RevokedError):
            await it.heartbeat(BEAT)
        collector.revoked = False
        await it.heartbeat(BEAT)

    run(scenario)


@pytest.mark.parametrize(
    "answer",
    [
        fleet.said(403, b"<h1>blocked by the firewall</h1>"),
        fleet.said(401, b"who are you"),
        fleet.said(502, b"<h1>bad gateway</h1>"),
        fleet.problem(503, "starting"),
        fleet.problem(429, "too many requests"),
        fleet.said(200, b'{"surprise": 1}'),
        wire.Answer(302, {"location": "http://elsewhere/"}, b""),
    ],
)
def test_whatever_does_not_speak_as_the_collector_is_a_reason_to_try_later(answer: wire.Answer) -> None:
    async def scenario(it: link.Link, collector: fleet.Collector) -> None:
        collector.instead.append(answer)
        with pytest.raises(link.LinkError):
            await it.heartbeat(BEAT)
        await it.heartbeat(BEAT)

    run(scenario)


def test_a_refusal_says_why() -> None:
    async def scenario(it: link.Link, collector: fleet.Collector) -> None:
        await it.heartbeat(BEAT)
        collector.instead.append(fleet.problem(413, "the report is too large"))
        with pytest.raises(link.RefusedError, match=r"413.*too large") as caught:
            await it.heartbeat(BEAT)
        assert caught.value.status == 413

    run(scenario)


def test_a_lost_reply_and_an_absent_collector_are_reasons_to_try_later() -> None:
    async def scenario(it: link.Link, collector: fleet.Collector) -> None:
        collector.away = True
        with pytest.raises(link.LinkError, match="cannot be reached"):
            await it.heartbeat(BEAT)

    run(scenario)


def test_no_secret_is_in_any_error() -> None:
    async def scenario(it: link.Link, collector: fleet.Collector) -> None:
        texts = []
        for fault in (fleet.said(500, b"x"), fleet.problem(404, "gone"), None):
            collector.away = fault is None
            if fault is not None:
                collector.instead.append(fault)
            with pytest.raises(link.LinkProblem) as caught:
                await it.heartbeat(BEAT)
            texts.append(str(caught.value))
        assert "sesame" not in " ".join(texts)

    run(scenario)


@pytest.mark.parametrize(
    "text",
    [
        "http://collector.example",
        "ftp://127.0.0.1",
        "collector.example",
        "https://",
        "https://user:pw@host",
        "https://host/?a=1",
        "https://host:port",
        "http://127.0.0.1.example",
        "https://[::1",
        "https://:pw@host",
        "https://b\u00fccher.example",
        "https://host/a b",
    ],
)
def test_an_address_that_is_wrong_or_would_show_secrets_is_refused(text: str) -> None:
    with pytest.raises(link.UnsafeUrlError) as caught:
        link.base_url(text)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["https://collector.example:8443/", "http://localhost:1", "http://127.3.2.1", "http://[::1]:2"]
)
def test_an_address_that_is_safe_is_taken(text: str) -> None:
    assert link.base_url(text) == text.rstrip("/")


def over_tls(url: str, ca_pem: str | None) -> DesiredState:
    async def scenario() -> DesiredState:
        identity = Identity(
            url=url, node=NodeId(4), name="n", client_id="c", client_secret="sesame", ca_pem=ca_pem
        )
        it = link.Link(identity)
        try:
            return await it.configs(0, 0)
        finally:
            await it.close()

    return asyncio.run(scenario())


def tiny_collector(path: str) -> site.Answer:
    token = path == "/api/v1/auth/token"
    said = (
        Token(access_token="t", expires_in=60) if token else DesiredState(generation=9, full=True, items=[])
    )
    return 200, "application/json", msgspec.json.encode(said)


def test_the_pinned_authority_is_believed(tmp_path: Path) -> None:
    mine = site.authority(tmp_path)
    with site.serving(mine, tiny_collector) as it:
        assert over_tls(it.url, mine.pem).generation == 9
        assert it.asked == [
            ("/api/v1/auth/token", ""),
            ("/api/v1/nodes/4/configs?since=0&wait=0&penalty_mark=0", "Bearer t"),
        ]


def test_no_other_authority_is_believed_and_nothing_is_told_to_it(tmp_path: Path) -> None:
    mine, other = site.authority(tmp_path / "mine"), site.authority(tmp_path / "other")
    with site.serving(other, tiny_collector) as it:
        for trusted in (mine.pem, None):
            with pytest.raises(link.LinkError, match="cannot be reached"):
                over_tls(it.url, trusted)
        assert it.asked == []


def test_a_damaged_authority_is_said_in_words() -> None:
    with pytest.raises(link.LinkError, match="CA certificate"):
        link.trust("https://host", "no certificate")
