"""The data directory: its owner's only, and one process at a time."""

import stat
from pathlib import Path

import pytest

from collector import data_dir, tokens


def test_a_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    data_dir.prepare(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_directory_that_is_there_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    data_dir.prepare(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_directory_that_holds_something_of_others_is_not_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "of-others").touch()
    with pytest.raises(data_dir.DataDirError, match="a directory of its own"):
        data_dir.prepare(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_directory_that_cannot_be_made_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(data_dir.DataDirError, match="TIDEGATE_COLLECTOR_DATA_DIR"):
        data_dir.prepare(tmp_path / "file" / "below")


def test_the_key_makes_a_directory_initialised(tmp_path: Path) -> None:
    with pytest.raises(data_dir.DataDirError, match="tidegate-collector init"):
        data_dir.require_initialised(tmp_path)
    data_dir.make_key(tmp_path)
    data_dir.require_initialised(tmp_path)
    assert len(data_dir.read_key(tmp_path)) == tokens.KEY_BYTES
    assert stat.S_IMODE((tmp_path / "token.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_damaged_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token.key").write_bytes(content)
    with pytest.raises(data_dir.DataDirError, match="restore it from a backup"):
        data_dir.read_key(tmp_path)


def test_two_processes_cannot_hold_a_directory(tmp_path: Path) -> None:
    refused = pytest.raises(data_dir.DataDirError, match="in use")
    with data_dir.locked(tmp_path), refused, data_dir.locked(tmp_path):
        raise AssertionError
    with data_dir.locked(tmp_path):
        pass
