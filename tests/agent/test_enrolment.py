"""A token is told to the right collector only, spent once, and its answer is kept whole or not at all."""

import contextlib
import errno
import os
import stat
from pathlib import Path

import msgspec
import pytest

from agent import cli, enrolment, identity, inspection, ledger
from agent.core.counting import Count, Meter, Reading
from shared.messages import Lease, Registered
from shared.names import EndpointId, NodeId, UserId
from tests.agent import site
from tests.agent.books import AT_MS

TOKEN = "one-time-token"


class Registrar:
    """Answers for a collector's CA and registration."""

    def __init__(self, pem: str, node: int = 4) -> None:
        self.pem = pem
        self.node = node
        self.spent = False

    def __call__(self, path: str) -> site.Answer:
        if path == "/api/v1/ca":
            return 200, "application/x-pem-file", self.pem.encode()
        if self.spent:
            body = {
                "type": "about:blank",
                "title": "this token was used",
                "status": 401,
                "detail": "get another",
            }
            return 401, "application/problem+json", msgspec.json.encode(body)
        self.spent = True
        given = Registered(
            node=NodeId(self.node), name="berlin-1", client_id="node-4", client_secret="sesame"
        )
        return 201, "application/json", msgspec.json.encode(given)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("TIDEGATE_AGENT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TIDEGATE_AGENT_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def test_a_node_enrols_with_the_hash_of_the_authority(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, stray = site.authority(tmp_path / "mine"), site.authority(tmp_path / "stray")
    with site.serving(mine, Registrar(stray.pem + mine.pem)) as it:
        assert (
            cli.main(["enroll", it.url, TOKEN, "--ca-hash", mine.fingerprint.upper().replace("SHA", "sha")])
            == 0
        )
        assert it.asked == [("/api/v1/ca", ""), ("/api/v1/nodes/register", f"Bearer {TOKEN}")]
        mine_now = identity.load(home)
        assert mine_now.url == it.url
    assert (mine_now.node, mine_now.client_id, mine_now.client_secret) == (4, "node-4", "sesame")
    assert mine_now.ca_pem is not None
    assert mine_now.ca_pem.strip() == mine.pem.strip()
    assert stat.S_IMODE((home / identity.FILE_NAME).stat().st_mode) == 0o600
    assert sorted(p.name for p in home.iterdir()) == ["agent.lock", "identity.json"]
    shown = capsys.readouterr()
    assert "berlin-1" in shown.out
    assert "sesame" not in shown.out + shown.err


def test_a_collector_with_another_authority_never_sees_the_token(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = site.authority(tmp_path / "mine"), site.authority(tmp_path / "other")
    with site.serving(other, Registrar(other.pem)) as it:
        assert cli.main(["enroll", it.url, TOKEN, "--ca-hash", mine.fingerprint]) == 1
        assert it.asked == [("/api/v1/ca", "")]
    assert "does not have the hash" in capsys.readouterr().err
    assert not (home / identity.FILE_NAME).exists()


def test_one_who_shows_the_right_authority_but_does_not_own_it_never_sees_the_token(
    home: Path, tmp_path: Path
) -> None:
    mine, other = site.authority(tmp_path / "mine"), site.authority(tmp_path / "other")
    with site.serving(other, Registrar(mine.pem)) as it:
        assert cli.main(["enroll", it.url, TOKEN, "--ca-hash", mine.fingerprint]) == 1
        assert it.asked == [("/api/v1/ca", "")]
    assert [p.name for p in home.iterdir()] == ["agent.lock"]


def test_without_a_hash_the_authorities_of_the_system_decide(home: Path, tmp_path: Path) -> None:
    mine = site.authority(tmp_path / "mine")
    with site.serving(mine, Registrar(mine.pem)) as it:
        assert cli.main(["enroll", it.url, TOKEN]) == 1
        assert it.asked == []
    assert not (home / identity.FILE_NAME).exists()


def test_a_used_token_is_refused_in_one_line(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = site.authority(tmp_path / "mine")
    registrar = Registrar(mine.pem)
    registrar.spent = True
    with site.serving(mine, registrar) as it:
        assert cli.main(["enroll", it.url, TOKEN, "--ca-hash", mine.fingerprint]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "this token was used" in shown
    assert TOKEN not in shown
    assert [p.name for p in home.iterdir()] == ["agent.lock"]


def test_an_identity_is_replaced_by_force_only_and_its_ledger_set_aside(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = site.authority(tmp_path / "mine")
    for node, force, status in ((3, [], 0), (4, [], 1), (4, ["--force"], 0)):
        with site.serving(mine, Registrar(mine.pem, node)) as it:
            assert cli.main(["enroll", it.url, TOKEN, "--ca-hash", mine.fingerprint, *force]) == status
            last = it.url
            assert bool(it.asked) == (status == 0)
        if not force and status == 0:
            book = ledger.open_ledger(home / ledger.FILE_NAME)
            book.book(Reading("g", {Meter(UserId(1), EndpointId(1)): Count(1, 1)}), AT_MS)
            book.close()
    assert "--force" in capsys.readouterr().err
    assert identity.load(home).url == last
    assert not (home / ledger.FILE_NAME).exists()
    assert inspection.peek(home / f"{ledger.FILE_NAME}.old-1")["up_bytes"] == 1


def test_new_credentials_of_the_same_node_keep_what_its_ledger_has_not_told(
    home: Path, tmp_path: Path
) -> None:
    mine = site.authority(tmp_path / "mine")
    for force in ([], ["--force"]):
        with site.serving(mine, Registrar(mine.pem)) as it:
            assert cli.main(["enroll", it.url, TOKEN, "--ca-hash", mine.fingerprint, *force]) == 0
        if not force:
            book = ledger.open_ledger(home / ledger.FILE_NAME)
            book.book(Reading("g", {Meter(UserId(1), EndpointId(1)): Count(1, 1)}), AT_MS)
            book.close()
    assert inspection.peek(home / ledger.FILE_NAME)["up_bytes"] == 1


def test_what_was_lent_under_old_credentials_is_not_served_under_new_ones(home: Path, tmp_path: Path) -> None:
    mine = site.authority(tmp_path / "mine")
    for force in ([], ["--force"]):
        with site.serving(mine, Registrar(mine.pem)) as it:
            assert cli.main(["enroll", it.url, TOKEN, "--ca-hash", mine.fingerprint, *force]) == 0
        with contextlib.closing(ledger.open_ledger(home / ledger.FILE_NAME)) as book:
            assert not book.leases
            book.lend([Lease(UserId(1), 1, 0, 1_000)], ())


@pytest.mark.parametrize("token", ["t\u00f6ken", "two words", "", "line\nbreak"])
def test_what_cannot_be_a_token_is_refused_in_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], token: str
) -> None:
    assert cli.main(["enroll", "https://127.0.0.1:1", token]) == 1
    assert "not an enrolment token" in capsys.readouterr().err
    assert not (home / identity.FILE_NAME).exists()


def test_a_full_disk_does_not_cost_the_token(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    mine = site.authority(tmp_path / "mine")
    with site.serving(mine, Registrar(mine.pem)) as it:
        assert cli.main(["enroll", it.url, TOKEN, "--ca-hash", mine.fingerprint]) == 1
        assert it.asked == []
    assert "No space left" in capsys.readouterr().err
    assert [p.name for p in home.iterdir()] == ["agent.lock"]


def test_a_wrong_hash_is_a_usage_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["enroll", "https://127.0.0.1:1", TOKEN, "--ca-hash", "sha256:123"]) == 2
    assert "64 hexadecimal digits" in capsys.readouterr().err
    assert not home.exists()


def test_plain_http_is_refused_before_anything_is_sent(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["enroll", "http://collector.example", TOKEN]) == 1
    assert "use https" in capsys.readouterr().err
    assert not (home / identity.FILE_NAME).exists()


def test_a_place_that_cannot_be_written_does_not_cost_the_token(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write_text("a file where the directory should be")
    mine = site.authority(tmp_path / "mine")
    with site.serving(mine, Registrar(mine.pem)) as it:
        assert cli.main(["enroll", it.url, TOKEN, "--ca-hash", mine.fingerprint]) == 1
        assert it.asked == []
    assert capsys.readouterr().err.count("\n") == 1


def test_a_damaged_identity_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / identity.FILE_NAME).write_text("{")
    with pytest.raises(identity.IdentityError, match="--force"):
        identity.load(tmp_path)


def test_an_interrupted_enrolment_ends_without_a_trace(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(enrolment, "_register", interrupted)
    assert cli.main(["enroll", "https://127.0.0.1:1", TOKEN]) == 130
    assert capsys.readouterr().err == ""
    assert [p.name for p in home.iterdir()] == ["agent.lock"]
