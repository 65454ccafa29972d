"""Certificates that end are told of in time, and again only when something has changed."""

import asyncio
from pathlib import Path

import msgspec

from agent.drivers.memory import MemoryDriver
from agent.loops.certificates import CertificatesLoop
from agent.loops.node import Node
from agent.loops.sync import SyncLoop
from shared import endpoints
from shared.messages import Endpoint
from tests.agent import certificates, fleet


def secured(tls: endpoints.Tls, number: int = 1) -> Endpoint:
    return msgspec.structs.replace(fleet.endpoint(number, port=443 + number), security=tls)


def text(days: float) -> endpoints.Tls:
    made = certificates.lasting(days)
    return endpoints.Tls(certificate=made.certificate, key=made.key)


def file(path: Path) -> endpoints.Tls:
    return endpoints.Tls(certificate_file=str(path), key_file=str(path.with_suffix(".key")))


def incidents(node: Node) -> list[str]:
    return [each.kind for each in node.ledger.incidents()]


def test_an_expired_certificate_is_one_incident_and_a_problem_without_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = fleet.Collector(), MemoryDriver()
        collector.want(secured(text(-1)))
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            loop, calls = CertificatesLoop(node), list(driver.calls)
            for _ in range(3):
                await loop.once()
            assert incidents(node) == ["certificate_expired"]
            (problem,) = node.problems.values()
            assert problem.startswith("endpoint 1: its certificate has expired on ")
            assert driver.calls == calls

    asyncio.run(scenario())


def test_a_certificate_that_ends_soon_is_a_problem_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector = fleet.Collector()
        collector.want(secured(text(13), 1), secured(text(15), 2), fleet.endpoint(3, port=80))
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            await SyncLoop(node).once()
            await CertificatesLoop(node).once()
            assert incidents(node) == []
            assert list(node.problems) == ["certificate/1"]

    asyncio.run(scenario())


def test_a_file_that_was_renewed_is_well_again_and_a_new_expiry_a_new_incident(tmp_path: Path) -> None:
    async def scenario() -> None:
        path, collector = tmp_path / "chain.pem", fleet.Collector()
        collector.want(secured(file(path)))
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            await SyncLoop(node).once()
            loop, told = CertificatesLoop(node), []
            for days in (-2, 90, -1):
                path.write_text(certificates.lasting(days).certificate)
                await loop.once()
                told.append((len(node.problems), len(incidents(node))))
            assert told == [(1, 1), (0, 1), (1, 2)]

    asyncio.run(scenario())


def test_a_missing_file_is_told_with_its_path_and_rubbish_without_its_bytes(tmp_path: Path) -> None:
    async def scenario() -> None:
        rubbish, collector = tmp_path / "rubbish.pem", fleet.Collector()
        rubbish.write_text("hush")
        collector.want(secured(file(tmp_path / "missing.pem"), 1), secured(file(rubbish), 2))
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            await SyncLoop(node).once()
            await CertificatesLoop(node).once()
            assert incidents(node) == ["certificate_unreadable"] * 2
            first, second = node.problems.values()
            assert "missing.pem cannot be read: No such file" in first
            assert second == "endpoint 2: there is no certificate in it"

    asyncio.run(scenario())


def test_the_problem_of_an_endpoint_that_is_gone_is_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector = fleet.Collector()
        collector.want(secured(text(-1)))
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            sync, loop = SyncLoop(node), CertificatesLoop(node)
            await sync.once()
            await loop.once()
            collector.drop("endpoint/1")
            await sync.once()
            await loop.once()
            assert node.problems == {}

    asyncio.run(scenario())
