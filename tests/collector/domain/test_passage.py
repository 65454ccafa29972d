"""Raw JSON: what would take over what we say or meter is refused however it is written."""

from typing import Any

import pytest

from collector.domain import passage
from collector.domain.passage import HIDDEN


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return {"a": value}


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"tag": "x"}, "extra.tag"),
        ({"Listen": "0.0.0.0"}, "extra.Listen"),
        ({"PORT": 1}, "extra.PORT"),
        ({"protocol": "socks"}, "extra.protocol"),
        ({"settings": {"clients": []}}, "extra.settings.clients"),
        ({"settings": {"Users": []}}, "extra.settings.Users"),
        # Go folds these two letters as it does upper case: the long s, and the sign for kelvin.
        ({"settings": {"u\u017fers": []}}, "extra.settings.u\u017fers"),
        ({"streamSettings": {"networ\u212a": "kcp"}}, "extra.streamSettings.networ\u212a"),
        ({"settings": {"peers": []}}, "extra.settings.peers"),
        # What is merged would be replaced.
        ({"settings": None}, "extra.settings"),
        ({"Settings": {}}, "extra.Settings"),
        ({"streamSettings": []}, "extra.streamSettings"),
        ({"streamSettings": {"tlssettings": {}}}, "extra.streamSettings.tlssettings"),
        ({"streamSettings": {"security": "none"}}, "extra.streamSettings.security"),
        (
            {"streamSettings": {"hysteriaSettings": {"auth": "x"}}},
            "extra.streamSettings.hysteriaSettings.auth",
        ),
        ({"streamSettings": {"kcpSettings": {"seed": "x"}}}, "extra.streamSettings.kcpSettings.seed"),
        (
            {"streamSettings": {"tlsSettings": {"masterKeyLog": "/var/log/x"}}},
            "extra.streamSettings.tlsSettings.masterKeyLog",
        ),
        (
            {"streamSettings": {"realitySettings": {"show": True}}},
            "extra.streamSettings.realitySettings.show",
        ),
        ({"a": [{"b": HIDDEN}]}, "extra.a.0.b"),
        ({"a": 2**63}, "extra.a"),
        ({"a": float("inf")}, "extra.a"),
        ({"a": "x" * passage.MAX_BYTES}, "extra"),
    ],
)
def test_what_is_ours_or_does_not_fit_is_refused_by_field(extra: dict[str, Any], field: str) -> None:
    found = passage.wrong(extra)
    assert list(found) == [field]
    assert len(found[field]) > 10


def test_depth_is_bounded_also_where_python_would_give_up() -> None:
    assert passage.wrong(_nested(passage.MAX_DEPTH)) == {}
    for levels in (passage.MAX_DEPTH + 1, 50_000):
        assert len(passage.wrong(_nested(levels))) == 1
        assert passage.kept(None, _nested(levels)) is not None


@pytest.mark.parametrize(
    "extra",
    [
        None,
        {},
        {"sniffing": {"enabled": True, "destOverride": ["http", "tls"]}},
        {"settings": {"fallbacks": [{"dest": 80, "alpn": "h2"}]}},
        {"streamSettings": {"sockopt": {"tcpFastOpen": True}, "finalmask": {"udp": [{"type": "noise"}]}}},
        {"streamSettings": {"xhttpSettings": {"xPaddingBytes": "100-1000", "extra": {"path": "x"}}}},
        {"newField": {"clients": 1}},
    ],
)
def test_the_rest_goes_through(extra: dict[str, Any] | None) -> None:
    assert passage.wrong(extra) == {}
    assert passage.kept({"other": 1}, extra) == extra


def test_secrets_are_hidden_and_stay_when_they_are_sent_back_hidden() -> None:
    extra = {"streamSettings": {"tlsSettings": {"echServerKeys": "s3cret"}, "a": [{"key": ["x", "y"]}]}}
    shown = passage.shown(extra)
    assert shown == {"streamSettings": {"tlsSettings": {"echServerKeys": HIDDEN}, "a": [{"key": HIDDEN}]}}
    assert passage.kept(extra, shown) == extra
    assert passage.wrong(passage.kept(extra, shown)) == {}
    assert list(passage.wrong(passage.kept(None, shown))) == [
        "extra.streamSettings.a.0.key",
        "extra.streamSettings.tlsSettings.echServerKeys",
    ]
