"""A core's version is read from its own words; bad ones are refused or warned of, with the reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import versions
from agent.core.versions import Core, Version

NUMBERS = st.integers(0, 99)
VERSIONS = st.builds(Version, NUMBERS, NUMBERS, NUMBERS)
CORES = st.builds(Core, st.sampled_from([versions.XRAY, versions.V2RAY]), VERSIONS)


def xray(text: str) -> versions.Judgement:
    return versions.judge(Core(versions.XRAY, versions.bare(text)))


@pytest.mark.parametrize(
    ("text", "core"),
    [
        ("Xray 26.10.10 (Xray, Penetrates Everything.) 701af60 (go1.27.2 linux/amd64)", "Xray 26.10.10"),
        ("2026/11/22 03:34:01.48 [Warning] core: Xray 26.7.28 started", "Xray 26.7.28"),
        ("V2Ray 4.34.0 (user) 20230518-074445 (go1.19.8 linux/amd64)\nA unified platform", "V2Ray 4.34.0"),
        ("V2Ray v5.1.0", "V2Ray 5.1.0"),
    ],
)
def test_a_core_is_known_by_what_it_says(text: str, core: str) -> None:
    assert str(versions.said(text)) == core


@given(st.text())
def test_other_words_tell_no_core(text: str) -> None:
    assert versions.said("core " + text.replace("ray", "")) is None


@given(CORES)
def test_what_a_core_says_is_read_as_it_is_written(core: Core) -> None:
    assert versions.said(f"{core} started") == core


@pytest.mark.parametrize("text", ["26.10.10", "v26.10.10"])
def test_an_operator_writes_a_version_with_or_without_its_letter(text: str) -> None:
    assert versions.bare(text) == Version(26, 10, 10)


@pytest.mark.parametrize("text", ["", "26", "26.10", "latest", "26.10.10-rc1", "26.10.10.1", "٢٦.1.1"])
def test_what_is_no_version_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"like 26\.10\.10"):
        versions.bare(text)


def test_the_present_cores_are_run_without_a_word() -> None:
    assert xray("26.10.10") == versions.Judgement()
    assert versions.judge(Core(versions.V2RAY, Version(4, 34, 0))) == versions.Judgement()


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("26.5.2", "unix socket"),
        ("26.3.22", "whose a connection is"),
        ("25.8.3", "loses sight"),
        ("25.10.15", "receive twice"),
        ("26.1.12", "receive twice"),
        ("25.6.6", "which endpoints"),
        ("24.11.4", "whom it serves"),
        ("1.8.24", "whom it serves"),
    ],
)
def test_a_core_that_would_count_or_cut_wrongly_is_refused_with_the_reason(version: str, reason: str) -> None:
    refusal = xray(version).refusal
    assert refusal is not None
    assert refusal.startswith(f"Xray {version} is not run, since ")
    assert reason in refusal
    assert "install Xray 26.7.11 or newer" in refusal


@pytest.mark.parametrize(("version", "reason"), [("26.1.13", "receive twice"), ("26.3.23", "loses sight")])
def test_a_fault_that_is_mended_is_no_reason_any_more(version: str, reason: str) -> None:
    assert reason not in (xray(version).refusal or "")


def test_a_lesser_fault_is_warned_of_until_it_is_mended() -> None:
    assert [("WireGuard" in said, "first bytes" in said) for said in xray("26.6.26").warnings] == [
        (True, False),
        (False, True),
    ]
    (warning,) = xray("26.7.10").warnings
    assert "mended in 26.7.11" in warning
    assert xray("26.7.11").warnings == ()


def test_v2ray_5_is_refused_since_its_messages_have_other_names() -> None:
    refusal = versions.judge(Core(versions.V2RAY, Version(5, 0, 0))).refusal
    assert refusal is not None
    assert "other names" in refusal


def test_a_core_without_a_version_is_warned_of_and_refused_only_under_a_pin() -> None:
    assert versions.judge(None).refusal is None
    assert versions.judge(None).warnings
    assert "only 26.10.10 may be run" in (versions.judge(None, Version(26, 10, 10)).refusal or "")


@given(CORES, VERSIONS)
def test_under_a_pin_no_other_version_is_run(core: Core, pinned: Version) -> None:
    assert core.version == pinned or versions.judge(core, pinned).refusal is not None


@given(CORES)
def test_a_pin_makes_no_bad_version_good(core: Core) -> None:
    assert versions.judge(core, core.version) == versions.judge(core)
