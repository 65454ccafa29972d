"""Settings: every problem at once, secrets never shown."""

from pathlib import Path

import pytest

from shared.environment import Reader, SettingsError


def test_all_problems_are_reported_together() -> None:
    reader = Reader({"X_PORT": "no", "X_FLAG": "maybe", "X_LEVEL": "loud", "X_TYPO": "1"}, "X_")
    reader.integer("PORT", 1, low=1, high=10)
    reader.flag("FLAG", default=False)
    reader.choice("LEVEL", "info", among=("info", "debug"))
    with pytest.raises(SettingsError) as wrong:
        reader.finish()
    assert [problem.split("=")[0].split(":")[0] for problem in wrong.value.problems] == [
        "X_PORT",
        "X_FLAG",
        "X_LEVEL",
        "X_TYPO",
    ]


def test_a_number_out_of_bounds_is_told_its_bounds() -> None:
    reader = Reader({"X_POLL_S": "0.001"}, "X_")
    assert reader.number("POLL_S", 0.25, low=0.02, high=60) == 0.25
    with pytest.raises(SettingsError, match=r"between 0\.02 and 60"):
        reader.finish()


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_a_number_that_is_none_is_refused(text: str) -> None:
    reader = Reader({"X_POLL_S": text}, "X_")
    reader.number("POLL_S", 0.25, low=0.02, high=60)
    with pytest.raises(SettingsError):
        reader.finish()


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("sesame\n")
    reader = Reader({"X_KEY_FILE": str(tmp_path / "secret")}, "X_")
    assert reader.secret("KEY") == "sesame"
    reader.finish()


def test_a_secret_file_that_cannot_be_read_is_a_problem_in_words(tmp_path: Path) -> None:
    reader = Reader({"X_KEY_FILE": str(tmp_path / "missing")}, "X_")
    assert reader.secret("KEY") is None
    with pytest.raises(SettingsError, match="cannot be read"):
        reader.finish()


def test_variables_of_others_are_left_alone() -> None:
    Reader({"HOME": "/root", "XY": "1"}, "X_").finish()


@pytest.mark.parametrize("text", ["abc", "1.5", ""])
def test_what_is_no_whole_number_is_said_so_in_words(text: str) -> None:
    reader = Reader({"X_TTL_S": text}, "X_")
    reader.integer("TTL_S", 600, low=1, high=3600)
    with pytest.raises(SettingsError, match="must be a whole number"):
        reader.finish()
