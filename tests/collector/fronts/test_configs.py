"""Long polls: they end with news, with time, with revocation and with the collector; no wake is missed."""

import asyncio
import time

import httpx

from collector.app import nodes
from collector.domain.access import SYSTEM
from tests.collector.fronts.rig import Joined, Rig


def _poll(rig: Rig, node: Joined, since: int, wait_s: int) -> "asyncio.Future[httpx.Response]":
    path = f"/api/v1/nodes/{node.id}/configs?since={since}&wait={wait_s}"
    return asyncio.ensure_future(rig.ask("GET", path, token=node.token))


def test_a_waiting_poll_is_answered_with_what_an_admin_changes(rig: Rig) -> None:
    node, admin = rig.joined(), rig.admin()

    async def scenario() -> tuple[httpx.Response, float]:
        poll = _poll(rig, node, 0, 55)
        await rig.until_waiting(1)
        body = {"name": "main", "protocol": "vless", "port": 443}
        made = await rig.ask("POST", f"/api/v1/nodes/{node.id}/endpoints", body, token=admin)
        assert made.status_code == 201
        done_s = time.monotonic()
        return await poll, time.monotonic() - done_s

    answer, took_s = rig.run(scenario())
    state = answer.json()
    assert state["generation"] == 1
    assert [item["key"] for item in state["items"]] == ["endpoint/1"]
    assert took_s < 1


def test_a_poll_behind_is_answered_at_once(rig: Rig) -> None:
    node = rig.joined()
    rig.endpoint(node.id)
    answer = rig.send("GET", f"/api/v1/nodes/{node.id}/configs?since=0&wait=55", token=node.token)
    assert answer.json()["full"] is True


def test_a_poll_without_news_ends_after_its_time_with_nothing_new(rig: Rig) -> None:
    node = rig.joined()
    rig.endpoint(node.id)
    started_s = time.monotonic()
    answer = rig.send("GET", f"/api/v1/nodes/{node.id}/configs?since=1&wait=1", token=node.token)
    assert 0.9 < time.monotonic() - started_s < 5
    assert answer.json() == {"generation": 1, "full": False, "items": []}


def test_a_wake_without_news_for_the_node_keeps_the_poll_waiting(rig: Rig) -> None:
    node = rig.joined()

    async def scenario() -> httpx.Response:
        poll = _poll(rig, node, 0, 55)
        await rig.until_waiting(1)
        for _ in range(3):
            rig.hub.wake_all()
            await asyncio.sleep(0)
        assert not poll.done()
        await rig.parts.change(nodes.revoke, node.id, SYSTEM, rig.now_ms)
        return await poll

    assert rig.run(scenario()).status_code == 401


def test_revoking_a_node_ends_its_waiting_poll_and_every_other_request(rig: Rig) -> None:
    node, admin = rig.joined(), rig.admin()

    async def scenario() -> tuple[httpx.Response, float]:
        poll = _poll(rig, node, 0, 55)
        await rig.until_waiting(1)
        started_s = time.monotonic()
        assert (await rig.ask("POST", f"/api/v1/nodes/{node.id}/revoke", token=admin)).status_code == 200
        return await poll, time.monotonic() - started_s

    answer, took_s = rig.run(scenario())
    assert answer.status_code == 401
    assert took_s < 5
    report = {"ledger": "l", "rows": []}
    assert rig.send("POST", "/api/v1/usage", report, token=node.token).status_code == 401


def test_a_node_revoked_elsewhere_is_out_within_five_seconds(rig: Rig) -> None:
    node = rig.joined()
    path = f"/api/v1/nodes/{node.id}/configs"
    assert rig.send("GET", path, token=node.token).status_code == 200
    rig.data.write_now(nodes.revoke, node.id, SYSTEM, rig.now_ms)

    async def refused() -> float:
        started_s = time.monotonic()
        while (await rig.ask("GET", path, token=node.token)).status_code != 401:
            assert time.monotonic() - started_s < 5
        return time.monotonic() - started_s

    assert rig.run(refused()) < 2


def test_a_stop_of_the_collector_ends_every_poll_at_once(rig: Rig) -> None:
    node = rig.joined()

    async def scenario() -> list[httpx.Response]:
        polls = [_poll(rig, node, 0, 55) for _ in range(20)]
        await rig.until_waiting(20)
        rig.hub.close()
        return [await poll for poll in polls]

    assert {answer.status_code for answer in rig.run(scenario())} == {200}
    assert rig.hub.waiting() == 0
    started_s = time.monotonic()
    rig.send("GET", f"/api/v1/nodes/{node.id}/configs?wait=55", token=node.token)
    assert time.monotonic() - started_s < 5


def test_no_change_is_missed_between_reading_and_waiting(rig: Rig) -> None:
    node = rig.joined()
    endpoint = rig.endpoint(node.id)
    admin = rig.admin()

    async def scenario() -> int:
        since = 1
        for number in range(30):
            poll = _poll(rig, node, since, 55)
            body = {"name": f"user-{number}", "endpoints": [endpoint]}
            made, answer = await asyncio.gather(rig.ask("POST", "/api/v1/users", body, token=admin), poll)
            assert made.status_code == 201
            since = answer.json()["generation"]
        return since

    assert rig.run(scenario()) == 31


def test_acknowledging_a_generation_that_was_never_given_out_is_a_conflict(rig: Rig) -> None:
    node = rig.joined()
    body = {"generation": 99, "items": []}
    answer = rig.send("POST", f"/api/v1/nodes/{node.id}/configs/sync", body, token=node.token)
    assert answer.status_code == 409
