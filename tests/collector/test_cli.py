"""The command line: what an operator types first, and what he types wrong."""

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from collector import cli, passwords
from collector.app import admins, enrolment, events, users
from collector.domain.access import SYSTEM
from collector.domain.users import NewUser
from collector.store.database import Database
from shared.messages import Registration
from shared.names import NodeId

NOW_MS = 1_800_000_000_000

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "data"
    monkeypatch.setenv("TIDEGATE_COLLECTOR_DATA_DIR", str(path))
    monkeypatch.setenv("TIDEGATE_COLLECTOR_NAMES", "collector.example")
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], data: Path) -> Run:
    assert not data.exists()

    def command(*words: str) -> tuple[int, str, str]:
        status = cli.main(words)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return command


def _files(path: Path) -> dict[str, bytes]:
    return {str(one.relative_to(path)): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def test_init_makes_everything_and_shows_the_password_once(run: Run, data: Path) -> None:
    status, out, _ = run("init", "--json")
    told = json.loads(out)
    assert status == 0
    assert told["username"] == "admin"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", told["ca_hash"])
    assert told["url"] == "https://collector.example:8443"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert all(not path.stat().st_mode & 0o077 for path in data.rglob("*"))
    assert not any(told["password"].encode() in content for content in _files(data).values())
    database = Database.open(data)
    known = database.read_now(admins.credentials, "admin")
    database.close()
    assert known is not None
    assert passwords.password_matches(known.password_hash, told["password"])


def test_a_second_init_refuses_in_words_and_changes_nothing(run: Run, data: Path) -> None:
    run("init")
    before = _files(data)
    status, out, err = run("init", "--admin", "other")
    assert (status, out) == (1, "")
    assert "initialised already" in err
    assert err.count("\n") == 1
    assert _files(data) == before


def test_an_init_that_was_interrupted_can_be_run_again(run: Run, data: Path) -> None:
    run("init")
    (data / "token.key").unlink()
    status, out, _ = run("init", "--json")
    assert status == 0
    database = Database.open(data)
    known = database.read_now(admins.credentials, "admin")
    database.close()
    assert known is not None
    assert passwords.password_matches(known.password_hash, json.loads(out)["password"])


def test_init_tells_a_person_what_to_do_next(run: Run) -> None:
    status, out, _ = run("init", "--admin", "ada")
    assert status == 0
    assert "ada" in out
    assert "shown only now" in out
    assert out.splitlines()[-1] == "Next: tidegate-collector serve"


@pytest.mark.parametrize(
    "words",
    [["serve"], ["node", "list"], ["node", "enroll", "n"], ["user", "list"], ["admin", "password", "a"]],
)
def test_commands_before_init_say_to_run_init(run: Run, data: Path, words: list[str]) -> None:
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert "run `tidegate-collector init` first" in err
    assert not data.exists()


def test_enrolling_prints_the_one_line_to_run_on_the_node(run: Run) -> None:
    ca_hash = json.loads(run("init", "--json")[1])["ca_hash"]
    status, out, err = run("node", "enroll", "node-1", "--region", "fra")
    assert status == 0
    line = r"tidegate-agent enroll https://collector\.example:8443 (tge_\S{43}) --ca-hash (\S+)\n"
    found = re.fullmatch(line, out)
    assert found
    assert found[2] == ca_hash
    assert "600 s" in err


def test_the_token_of_the_line_enrols_the_node_once(run: Run, data: Path) -> None:
    run("init")
    told = json.loads(run("node", "enroll", "node-1", "--json")[1])
    assert told["command"].split()[3] == told["token"]
    database = Database.open(data)
    hashed = passwords.hash_secret(told["token"])
    about = Registration(agent_version="1", hostname="h")
    now_ms = told["expires_in"] * 1000
    node = database.write_now(enrolment.redeem, hashed, "client", b"s" * 32, about, now_ms).value
    database.close()
    assert (node.id, node.name) == (told["node"], "node-1")


def test_enrolling_a_name_again_makes_no_second_node(run: Run) -> None:
    run("init")
    first = json.loads(run("node", "enroll", "node-1", "--json")[1])
    second = json.loads(run("node", "enroll", "node-1", "--region", "ams", "--json")[1])
    assert first["node"] == second["node"]
    assert first["token"] != second["token"]
    assert [one["region"] for one in json.loads(run("node", "list", "--json")[1])["nodes"]] == ["ams"]


def test_nodes_are_listed_in_columns(run: Run) -> None:
    run("init")
    assert "no nodes yet" in run("node", "list")[1]
    run("node", "enroll", "a-node-with-a-long-name", "--region", "fra")
    run("node", "enroll", "b")
    head, *rows = run("node", "list")[1].splitlines()
    assert len(rows) == 2
    assert {row.index(word) for row, word in zip(rows, ["fra", "-  "], strict=True)} == {head.index("region")}


def test_revoking_is_seen_in_the_list_and_in_the_events(run: Run, data: Path) -> None:
    run("init")
    run("node", "enroll", "node-1")
    assert run("node", "revoke", "node-1")[0] == 0
    assert json.loads(run("node", "list", "--json")[1])["nodes"][0]["revoked"] is True
    database = Database.open(data)
    kinds = [one.kind for one in database.read_now(events.page, 0, 100)]
    standing = database.read_now(enrolment.standing, NodeId(1))
    database.close()
    assert kinds[-1] == "NODE_REVOKED"
    assert standing is not None
    assert standing.revoked


def test_users_are_listed_however_many_there_are(
    run: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_PAGE", 3)
    run("init")
    assert "no users yet" in run("user", "list")[1]
    database = Database.open(data)
    for number in range(6):
        uuid = f"00000000-0000-4000-8000-{number:012d}"
        database.write_now(users.create, NewUser(name=f"user-{number}"), uuid, SYSTEM, NOW_MS)
    database.close()
    listed = json.loads(run("user", "list", "--json")[1])["users"]
    assert [one["name"] for one in listed] == [f"user-{number}" for number in range(6)]


def test_a_lost_password_is_replaced(run: Run, data: Path) -> None:
    old = json.loads(run("init", "--json")[1])["password"]
    new = json.loads(run("admin", "password", "admin", "--json")[1])["password"]
    database = Database.open(data)
    known = database.read_now(admins.credentials, "admin")
    database.close()
    assert known is not None
    assert passwords.password_matches(known.password_hash, new)
    assert not passwords.password_matches(known.password_hash, old)


def test_the_description_is_printed_without_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_COLLECTOR_LISTEN", "rubbish")
    status, out, _ = run("openapi")
    assert status == 0
    assert json.loads(out)["openapi"].startswith("3.1")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["node", "revoke", "nobody"], "there is no node named nobody"),
        (["node", "enroll", "a;b"], "name: use 1 to 64"),
        (["node", "enroll", "ok", "--region", "a\nb"], "region: use 1 to 64"),
        (["admin", "password", "nobody"], "there is no admin named nobody"),
    ],
)
def test_an_error_is_told_in_words(run: Run, words: list[str], hint: str) -> None:
    run("init")
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert hint in err


@pytest.mark.parametrize("words", [[], ["nonsense"], ["node"], ["node", "enroll"], ["init", "--nonsense"]])
def test_wrong_usage_is_status_two(data: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err
    assert not data.exists()


def test_all_wrong_settings_are_told_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_COLLECTOR_LISTEN", "rubbish")
    monkeypatch.setenv("TIDEGATE_COLLECTOR_ENROL_TTL_S", "0")
    status, _, err = run("init")
    assert status == 1
    assert len(err.splitlines()) == 2


def test_a_database_that_is_none_is_told_in_words(run: Run, data: Path) -> None:
    run("init")
    (data / "user.db").write_bytes(b"this is not a database" * 100)
    status, _, err = run("node", "list")
    assert status == 1
    assert "cannot be opened" in err


@pytest.mark.parametrize("words", [["user", "list"], ["node", "enroll", "berlin-1"]])
def test_a_lost_database_is_never_replaced_by_an_empty_one(run: Run, data: Path, words: list[str]) -> None:
    run("init")
    for part in data.glob("user.db*"):
        part.unlink()
    status, out, err = run(*words)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "restore it from a backup" in err
    assert not (data / "user.db").exists()


def test_a_bad_name_of_the_first_admin_changes_nothing(run: Run, data: Path) -> None:
    assert run("init", "--admin", "a\nb")[0] == 1
    assert not data.exists()


def test_a_lost_ca_is_never_replaced_by_another(run: Run, data: Path) -> None:
    run("init")
    (data / "tls" / "authority.pem").unlink()
    status, _, err = run("node", "enroll", "n1")
    assert status == 1
    assert "restore it from a backup" in err
    assert not (data / "tls" / "authority.pem").exists()
