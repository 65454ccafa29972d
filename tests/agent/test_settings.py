"""Settings have working defaults, and everything wrong is said at once."""

from pathlib import Path

import pytest

from agent import settings
from agent.core import versions
from shared import environment


def test_an_empty_environment_is_enough() -> None:
    loaded = settings.load({"PATH": "/bin"})
    assert loaded.state_dir == Path("/var/lib/tidegate-agent")
    assert loaded.run_dir == loaded.state_dir / "run"
    assert loaded.xray_binary is None
    assert loaded.xray_version is None
    assert loaded.geo_city is None
    assert loaded.geo_asn is None
    assert not loaded.splice
    assert not loaded.allow_private_targets
    assert (loaded.pace.poll_s, loaded.pace.heartbeat_s, loaded.fence_s) == (0.25, 15, 60)
    assert loaded.pace.sessions_s == 5


def test_each_setting_is_taken(tmp_path: Path) -> None:
    binary = tmp_path / "xray"
    binary.touch()
    values = {
        "STATE_DIR": str(tmp_path),
        "RUN_DIR": "/run/tidegate",
        "XRAY_BINARY": str(binary),
        "XRAY_VERSION": "v26.10.10",
        "GEO_CITY": "/usr/share/GeoIP/GeoLite2-City.mmdb",
        "GEO_ASN": "/usr/share/GeoIP/GeoLite2-ASN.mmdb",
        "POLL_S": "0.1",
        "REPORT_MIN_S": "0.5",
        "REPORT_S": "7",
        "HEARTBEAT_S": "20",
        "FULL_COMPARE_S": "60",
        "FENCE_S": "90",
        "ALLOW_PRIVATE_TARGETS": "yes",
        "SPLICE": "on",
        "LOG_LEVEL": "debug",
    }
    loaded = settings.load({f"TIDEGATE_AGENT_{name}": value for name, value in values.items()})
    assert (loaded.state_dir, loaded.run_dir, loaded.xray_binary) == (tmp_path, Path("/run/tidegate"), binary)
    assert loaded.xray_version == versions.Version(26, 10, 10)
    assert loaded.geo_city == Path("/usr/share/GeoIP/GeoLite2-City.mmdb")
    assert loaded.geo_asn == Path("/usr/share/GeoIP/GeoLite2-ASN.mmdb")
    pace = loaded.pace
    assert (pace.poll_s, pace.report_min_s, pace.report_s) == (0.1, 0.5, 7)
    assert (pace.heartbeat_s, pace.full_compare_s, loaded.fence_s) == (20, 60, 90)
    assert loaded.allow_private_targets
    assert loaded.splice
    assert loaded.log_level == "debug"


def test_every_problem_is_reported_at_once_in_a_line_each() -> None:
    wrong = {
        "STATE_DIR": "relative",
        "RUN_DIR": "also/relative",
        "XRAY_BINARY": "/nowhere/xray",
        "XRAY_VERSION": "newest",
        "GEO_CITY": "City.mmdb",
        "GEO_ASN": "ASN.mmdb",
        "POLL_S": "soon",
        "REPORT_MIN_S": "9",
        "HEARTBEAT_S": "-1",
        "SPLICE": "perhaps",
        "LOG_LEVEL": "loud",
        "PORT": "1",
    }
    with pytest.raises(environment.SettingsError) as caught:
        settings.load({f"TIDEGATE_AGENT_{name}": value for name, value in wrong.items()})
    assert len(caught.value.problems) == len(wrong)
    for name in wrong:
        assert sum(f"TIDEGATE_AGENT_{name}" in problem for problem in caught.value.problems) == 1
