"""Every command answers in words or in one JSON object, and errors are lines on standard error."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent import cli, identity, ledger, lock, release
from agent.core.counting import Count, Meter, Reading
from shared.names import EndpointId, UserId
from tests.agent import fleet
from tests.agent.books import AT_MS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("TIDEGATE_AGENT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TIDEGATE_AGENT_STATE_DIR", str(tmp_path))
    return tmp_path


def enrolled(home: Path) -> None:
    identity.Place(home).fill(fleet.IDENTITY)


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == release.VERSION


def test_status_shows_what_the_node_holds(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enrolled(home)
    book = ledger.open_ledger(home / ledger.FILE_NAME)
    book.book(Reading("g", {Meter(UserId(1), EndpointId(1)): Count(3, 5)}), AT_MS)
    assert cli.main(["status", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["ledger"] == book.id
    assert (shown["node"], shown["meters"], shown["down_bytes"], shown["running"]) == (4, 1, 5, False)
    assert "sesame" not in str(shown)
    with lock.held(home / "agent.lock"):
        assert cli.main(["status"]) == 0
    assert "running: True" in capsys.readouterr().out
    book.close()


def test_status_before_the_first_run_has_no_ledger(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enrolled(home)
    assert cli.main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ledger"] is None


@pytest.mark.parametrize("command", ["status", "run"])
def test_a_node_that_is_not_enrolled_says_what_to_do(
    home: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert cli.main([command]) == 1
    assert "node enroll" in capsys.readouterr().err
    assert not (home / ledger.FILE_NAME).exists()


def test_check_names_every_problem_and_what_cannot_be_done(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert not shown["ok"]
    assert any("not enrolled" in problem for problem in shown["problems"])
    enrolled(home)
    assert cli.main(["check", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["ok"]
    assert isinstance(shown["limitations"], list)


def test_wrong_settings_are_one_line_each(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_AGENT_POLL_S", "soon")
    monkeypatch.setenv("TIDEGATE_AGENT_SPLICE", "perhaps")
    assert cli.main(["status"]) == 1
    assert capsys.readouterr().err.count("\n") == 2
    assert list(home.iterdir()) == []


def test_a_damaged_ledger_stops_the_agent_with_one_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enrolled(home)
    (home / ledger.FILE_NAME).write_bytes(b"rubbish" * 1000)
    assert cli.main(["run"]) == 1
    shown = capsys.readouterr().err
    assert "move it away" in shown
    assert shown.count("\n") == 1


def test_a_second_agent_on_the_same_state_directory_refuses(home: Path) -> None:
    enrolled(home)
    environ = {**os.environ, "TIDEGATE_AGENT_STATE_DIR": str(home)}
    with lock.held(home / "agent.lock"):
        for command in (["run"], ["enroll", "https://127.0.0.1:1", "t", "--force"]):
            second = subprocess.run(
                [sys.executable, "-m", "agent.cli", *command],
                cwd=ROOT,
                env=environ,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert second.returncode == 1
            assert second.stderr.count("\n") == 1
            assert "another agent runs" in second.stderr


def test_the_lock_can_be_taken_again_and_again(tmp_path: Path) -> None:
    for _ in range(3):
        with (
            lock.held(tmp_path / "agent.lock"),
            pytest.raises(lock.OccupiedError),
            lock.held(tmp_path / "agent.lock", patience_s=0),
        ):
            pass


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["enroll"], ["enroll", "https://h"]])
def test_a_wrong_command_line_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


def test_a_log_of_everything_does_not_hold_the_headers_of_calls_to_xray(home: Path) -> None:
    code = (
        "import logging; from agent import cli; cli.main(['run']);"
        "print(*(logging.getLogger(name).isEnabledFor(logging.DEBUG) for name in ('agent', 'hpack.hpack')))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TIDEGATE_AGENT_LOG_LEVEL": "debug"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
    assert not (home / "ledger.db").exists()
