"""The collector's settings: defaults that work, and every wrong one named at once."""

import socket
from pathlib import Path

import pytest

from collector import settings
from collector.settings import PREFIX
from shared.environment import SettingsError


def _read(**values: str) -> settings.Settings:
    return settings.read({PREFIX + name: value for name, value in values.items()})


def _problems(**values: str) -> list[str]:
    with pytest.raises(SettingsError) as wrong:
        _read(**values)
    return wrong.value.problems


def test_without_any_setting_the_collector_serves_https_under_its_host_name() -> None:
    read = settings.read({})
    assert (read.host, read.port, read.names) == ("0.0.0.0", 8443, (socket.gethostname(),))
    assert read.url == f"https://{socket.gethostname()}:8443"
    assert read.data_dir == Path("/var/lib/tidegate-collector")
    assert read.own_ca
    assert (read.enrol_ttl_s, read.zone, read.log_level) == (600, "UTC", "info")
    assert (read.session_window_s, read.penalty_s) == (30, 120)
    assert read.history_months == 12
    assert read.address_reuse_s == 86_400
    assert read.wireguard_dns == ("1.1.1.1", "2606:4700:4700::1111")
    assert (read.events_days, read.webhook) == (400, None)


def test_the_url_follows_from_the_first_name_and_the_port() -> None:
    assert _read(NAMES="c.example, 192.0.2.1", LISTEN="[::]:443").url == "https://c.example:443"
    assert _read(NAMES="2001:db8::1").url == "https://[2001:db8::1]:8443"
    assert _read(NAMES="c.example", URL="https://c.example/").url == "https://c.example"


def test_any_zone_of_the_host_can_be_the_one_of_new_users() -> None:
    assert _read(ZONE="Asia/Tehran").zone == "Asia/Tehran"


def test_dns_servers_of_tunnels_are_addresses_or_none_at_all() -> None:
    assert _read(WIREGUARD_DNS="9.9.9.9, 2620:FE::0:fe").wireguard_dns == ("9.9.9.9", "2620:fe::fe")
    assert _read(WIREGUARD_DNS="").wireguard_dns == ()


def test_a_database_url_chooses_postgresql_and_is_shown_nowhere(tmp_path: Path) -> None:
    assert settings.read({}).database is None
    url = "postgresql://tide:geheim@db.example:6432/gate"
    (tmp_path / "url").write_text(url + "\n")
    for read in (_read(DATABASE_URL=url), _read(DATABASE_URL_FILE=str(tmp_path / "url"))):
        assert read.database is not None
        assert (read.database.host, read.database.password) == ("db.example", "geheim")
        assert "geheim" not in repr(read)
    for wrong in ("", "geheim", "mysql://tide:geheim@h/gate", "postgresql://tide:geheim@h:x/gate"):
        (problem,) = _problems(DATABASE_URL=wrong)
        assert problem.startswith(PREFIX + "DATABASE_URL: must be postgresql://")
        assert "geheim" not in problem


def test_names_are_kept_in_their_order_and_once() -> None:
    assert _read(NAMES=" b.example,a.example,,b.example ").names == ("b.example", "a.example")


def test_an_own_certificate_takes_the_place_of_the_ca(tmp_path: Path) -> None:
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).touch()
    read = _read(TLS_CERT_FILE=str(tmp_path / "c.pem"), TLS_KEY_FILE=str(tmp_path / "k.pem"))
    assert not read.own_ca
    assert read.certificate == settings.OwnCertificate(
        cert_file=tmp_path / "c.pem", key_file=tmp_path / "k.pem"
    )


def test_behind_a_proxy_the_url_of_the_proxy_is_needed() -> None:
    assert PREFIX + "URL" in _problems(BEHIND_PROXY="yes")[0]
    read = _read(BEHIND_PROXY="yes", URL="https://panel.example")
    assert read.behind_proxy
    assert not read.own_ca


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LISTEN", "8443"),
        ("LISTEN", "localhost:8443"),
        ("LISTEN", "0.0.0.0:0"),
        ("LISTEN", "0.0.0.0:70000"),
        ("LISTEN", "0.0.0.0:x"),
        ("NAMES", ""),
        ("NAMES", "a b"),
        ("NAMES", "https://c.example"),
        ("NAMES", "c.example:8443"),
        ("NAMES", "-c.example"),
        ("NAMES", "a" * 64),
        ("URL", "c.example"),
        ("URL", "ftp://c.example"),
        ("URL", "https://"),
        ("URL", "https://a:b@c.example"),
        ("URL", "https://c.example:x"),
        ("URL", "https://c.example:0"),
        ("URL", "http://c.example"),
        ("URL", "https://c.example?x=1"),
        ("URL", "https://c.example/ --ca-hash"),
        ("URL", "https://c.example/;reboot"),
        ("TLS_CERT_FILE", "/nowhere/c.pem"),
        ("BEHIND_PROXY", "maybe"),
        ("ENROL_TTL_S", "5"),
        ("HISTORY_MONTHS", "-1"),
        ("ADDRESS_REUSE_S", "-1"),
        ("WIREGUARD_DNS", "dns.example"),
        ("WIREGUARD_DNS", "1.1.1.1 PostUp=id"),
        ("WIREGUARD_DNS", "fe80::1%a, 1.1.1.1"),
        ("HISTORY_MONTHS", "1.5"),
        ("ENROL_TTL_S", "1e3"),
        ("ZONE", ""),
        ("ZONE", "Mars/Olympus"),
        ("LOG_LEVEL", "loud"),
        ("EVENTS_DAYS", "-1"),
        ("WEBHOOK_URL", "http://hook.example"),
        ("DATA_DIR", ""),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    assert any(problem.startswith(PREFIX + name) for problem in _problems(**{name: value}))


def test_all_wrong_settings_are_named_at_once() -> None:
    problems = _problems(LISTEN="x", NAMES="a b", ENROL_TTL_S="0", LOG_LEVEL="loud", LISTNE="0.0.0.0:1")
    assert len(problems) == 5


def test_half_of_an_own_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.pem").touch()
    assert "both or neither" in _problems(TLS_CERT_FILE=str(tmp_path / "c.pem"))[0]


def test_a_certificate_behind_a_proxy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.pem").touch()
    file = str(tmp_path / "c.pem")
    problems = _problems(BEHIND_PROXY="yes", URL="https://p.example", TLS_CERT_FILE=file, TLS_KEY_FILE=file)
    assert "plain HTTP" in problems[0]


def test_a_webhook_has_a_url_and_a_secret_which_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s" * 32 + "\n")
    read = _read(WEBHOOK_URL="https://hook.example/tidegate", WEBHOOK_SECRET_FILE=str(tmp_path / "secret"))
    assert read.webhook == settings.Webhook(url="https://hook.example/tidegate", secret="s" * 32)


def test_half_of_a_webhook_or_a_short_secret_is_refused_and_never_echoed() -> None:
    assert "both or neither" in _problems(WEBHOOK_URL="https://hook.example")[0]
    (problem,) = _problems(WEBHOOK_URL="https://hook.example", WEBHOOK_SECRET="guessed")
    assert "at least 32" in problem
    assert "guessed" not in problem
