"""The command line on PostgreSQL: the same commands, and what is wrong with the database in one line."""

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from collector import cli
from tests.kit import programs
from tests.kit.postgres import GUARDED, Cluster

pytestmark = pytest.mark.postgres

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "data"
    monkeypatch.setenv("TIDEGATE_COLLECTOR_DATA_DIR", str(path))
    monkeypatch.setenv("TIDEGATE_COLLECTOR_NAMES", "collector.example")
    return path


@pytest.fixture
def name(data: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    assert not data.exists()
    made = cluster.make()
    monkeypatch.setenv("TIDEGATE_COLLECTOR_DATABASE_URL", cluster.url(made))
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str) -> tuple[int, str, str]:
        status = cli.main(words)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return command


def test_every_command_works_on_postgresql(run: Run, name: str, cluster: Cluster, data: Path) -> None:
    first = json.loads(run("init", "--json")[1])
    assert run("node", "enroll", "node-1", "--region", "fra")[0] == 0
    assert json.loads(run("node", "list", "--json")[1])["nodes"][0]["region"] == "fra"
    assert json.loads(run("user", "list", "--json")[1]) == {"users": []}
    assert json.loads(run("admin", "password", "admin", "--json")[1])["password"] != first["password"]
    assert run("node", "revoke", "node-1")[0] == 0
    assert cluster.ask(name, "SELECT name, revoked FROM tidegate.node") == [("node-1", True)]
    assert not list(data.glob("*.db"))


def test_an_init_that_was_interrupted_can_be_run_again(run: Run, name: str, data: Path) -> None:
    assert name
    run("init")
    (data / "token.key").unlink()
    assert run("init")[0] == 0


def test_a_database_with_nodes_is_not_taken_over_by_a_new_directory(
    run: Run, name: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run("init")
    run("node", "enroll", "node-1")
    before = cluster.ask(name, "SELECT password_hash FROM tidegate.admin")
    monkeypatch.setenv("TIDEGATE_COLLECTOR_DATA_DIR", str(tmp_path / "other"))
    status, out, err = run("init")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "restore that collector's data directory" in err
    assert cluster.ask(name, "SELECT password_hash FROM tidegate.admin") == before


def test_an_emptied_database_is_never_taken_for_a_new_one(run: Run, name: str, cluster: Cluster) -> None:
    run("init")
    cluster.ask(name, "DROP SCHEMA tidegate CASCADE")
    status, out, err = run("node", "list")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "restore it from a backup" in err
    assert not cluster.ask(name, "SELECT 1 FROM pg_namespace WHERE nspname = 'tidegate'")


@pytest.mark.parametrize("command", [("init",), ("serve",), ("user", "list")])
@pytest.mark.parametrize("wrong", ["password", "port", "rights"])
def test_what_is_wrong_with_the_database_is_one_line_without_the_password(
    run: Run,
    name: str,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    wrong: str,
    command: tuple[str, ...],
) -> None:
    if command != ("init",):
        run("init")
    url = {
        "password": cluster.url(name, user=GUARDED, password="geheim"),
        "port": f"postgresql://{GUARDED}:geheim@127.0.0.1:1/{name}",
        "rights": cluster.url(name, user=GUARDED, password="the%20right%20one"),
    }[wrong]
    monkeypatch.setenv("TIDEGATE_COLLECTOR_DATABASE_URL", url)
    monkeypatch.setenv("TIDEGATE_COLLECTOR_LISTEN", f"127.0.0.1:{_free_port()}")
    status, out, err = run(*command)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert not {"geheim", "right"} & set(err.replace("%", " ").split())
    assert f"the PostgreSQL database {name} at 127.0.0.1" in err
    if wrong == "rights":
        assert ("GRANT CREATE" if command == ("init",) else "as the user who owns its schemas") in err


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_without_the_driver_it_is_said_what_to_install(name: str, data: Path) -> None:
    assert name
    assert not data.exists()
    without = (
        "import sys; sys.modules['psycopg'] = None; from collector import cli; sys.exit(cli.main(['init']))"
    )
    for url, status, told in (
        (os.environ["TIDEGATE_COLLECTOR_DATABASE_URL"], 1, "tidegate[collector,postgres]"),
        ("", 0, ""),
    ):
        given = {key: value for key, value in os.environ.items() if key.startswith("TIDEGATE_COLLECTOR_")}
        given["TIDEGATE_COLLECTOR_DATABASE_URL"] = url
        if not url:
            del given["TIDEGATE_COLLECTOR_DATABASE_URL"]
        done = subprocess.run(
            [*programs.python("x")[:1], "-c", without],
            check=False,
            capture_output=True,
            text=True,
            env=programs.clean_environment(given),
            cwd=programs.ROOT,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        assert told in done.stderr
        assert "Traceback" not in done.stderr
