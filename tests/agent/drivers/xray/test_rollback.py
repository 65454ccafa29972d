"""An endpoint that a real Xray does not start with is refused; those that ran before serve on."""

import asyncio
import sys
from pathlib import Path

import pytest

from agent import ledger
from agent.core.periods import Pace
from agent.loops import serving
from agent.loops.node import Core, Node
from agent.loops.sync import SyncLoop
from tests.agent import fleet
from tests.agent.drivers.xray import rig
from tests.kit import source

pytestmark = pytest.mark.e2e


def picky(path: Path) -> Path:
    """An Xray that does not start with endpoint 2, as one that lacks something it needs."""
    binary = path / "xray"
    binary.write_text(
        f"#!{sys.executable} -P\n"
        "import sys, xray\n"
        "if sys.argv[1] == '-version': sys.exit(print('Xray 26.10.10 (picky)'))\n"
        "text = sys.stdin.read()\n"
        "if '\"e2\"' in text: sys.exit('Failed to start: there is no second sun') or 23\n"
        "xray.startFromJSON(text)\n"
    )
    binary.chmod(0o755)
    return binary


def test_a_bad_endpoint_is_reported_with_its_reason_and_the_good_one_serves_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        good, bad, account, collector = rig.free_port(), rig.free_port(), rig.account(1), fleet.Collector()
        collector.want(fleet.endpoint(1, port=good), account)
        link, book = fleet.linked(collector), ledger.open_ledger(tmp_path / ledger.FILE_NAME)
        chosen = rig.choose(tmp_path, binary=picky(tmp_path))
        with rig.locked(chosen.lock_file), source.Source() as bytes_from:
            async with rig.driven(chosen) as made:
                node = Node(cores=[Core(made)], ledger=book, link=link, pace=Pace(), holding=book.held)
                await serving.boot(node)
                sync = SyncLoop(node)
                await sync.once()
                assert await rig.fetches(good, account.uuid, bytes_from.port, 50_000)
                collector.want(fleet.endpoint(2, port=bad), rig.account(2, endpoint=2))
                await sync.once()
                assert await rig.fetches(good, account.uuid, bytes_from.port, 50_000)
                told = {key: outcome.error for key, outcome in collector.outcomes.items()}
                assert told["endpoint/1"] is None
                assert "there is no second sun" in (told["endpoint/2"] or "")
                assert told["account/2/2"] == "endpoint 2 is not served by this node"
                assert set(node.serving.endpoints) == {1}
        book.close()
        await link.close()

    asyncio.run(scenario())
