"""What V2Ray calls what Xray has, and what it does not have, without either of them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.served import Served
from agent.drivers.xray import accesslog, config, dialects, reach, sockets, webhook
from agent.drivers.xray.dialects import V2RAY, XRAY
from shared import endpoints
from tests.agent import fleet
from tests.agent.drivers.xray import rig

METHOD = "/xray.app.stats.command.StatsService/QueryStats"


def test_xray_is_spoken_to_as_it_is() -> None:
    whole: dict[str, Any] = {"inbounds": []}
    assert XRAY.name(METHOD) == METHOD
    assert XRAY.configured(whole, api="/a", private=False) is whole


def test_names_of_v2ray_differ_in_their_package_only() -> None:
    assert V2RAY.name(METHOD) == "/v2ray.core.app.stats.command.StatsService/QueryStats"
    assert V2RAY.name("xray.proxy.vmess.Account") == "v2ray.core.proxy.vmess.Account"


def test_what_is_not_known_is_taken_for_xray() -> None:
    assert dialects.of("V2Ray") is V2RAY
    assert dialects.of("Xray") is XRAY
    assert dialects.of("something else") is XRAY


def test_the_api_of_v2ray_is_an_inbound_on_a_socket(tmp_path: Path) -> None:
    chosen = rig.choose(tmp_path)
    whole = V2RAY.configured(config.build(rig.serving(443), chosen, bytes(32)), api="/run/api", private=False)
    door, served = whole["inbounds"]
    assert door["streamSettings"] == {"network": "domainsocket", "dsSettings": {"path": "/run/api"}}
    assert whole["routing"]["rules"][0] == {"type": "field", "inboundTag": ["api"], "outboundTag": "api"}
    assert served["tag"] == "e1"
    assert "127.0.0.0/8" in whole["routing"]["rules"][1]["ip"]
    assert whole["routing"]["domainStrategy"] == "IPOnDemand"
    assert "webhook" not in str(whole)


def test_private_targets_are_let_through_where_they_are_allowed(tmp_path: Path) -> None:
    built = config.build(Served(), rig.choose(tmp_path), bytes(32))
    assert len(V2RAY.configured(built, api="/a", private=True)["routing"]["rules"]) == 1


@pytest.mark.parametrize(("name", "own"), [("raw", "tcp"), ("websocket", "ws"), ("tcp", "tcp"), ("ws", "ws")])
def test_transports_have_the_names_of_v2ray(tmp_path: Path, name: str, own: str) -> None:
    built = config.build(Served(), rig.choose(tmp_path), bytes(32)) | {
        "inbounds": [{"tag": "e1", "streamSettings": {"network": name, "security": "none"}}]
    }
    _, inbound = V2RAY.configured(built, api="/a", private=True)["inbounds"]
    assert inbound["streamSettings"] == {"network": own, "security": "none"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocol": "shadowsocks"}, "several users"),
        ({"transport": endpoints.Xhttp()}, "transport xhttp"),
        ({"transport": endpoints.Grpc(service="s")}, "transport grpc"),
        ({"transport": endpoints.Mkcp(seed="hush")}, "mKCP"),
        ({"security": endpoints.Reality(target="a:1", server_names=(), private_key="k")}, "REALITY"),
        ({"options": endpoints.Vless(flow="xtls-rprx-vision")}, "flows"),
        ({"options": endpoints.Vless(decryption="mlkem768x25519plus")}, "encryption"),
    ],
)
def test_what_v2ray_does_not_have_is_told_in_words(changes: dict[str, Any], said: str) -> None:
    wanted = msgspec.structs.replace(fleet.endpoint(), **changes)
    (reason,) = reach.beyond([wanted], V2RAY).values()
    assert said in reason
    assert "hush" not in reason
    assert reach.beyond([wanted], XRAY) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": "vless", "options": endpoints.Vless()},
        {"protocol": "vmess", "transport": endpoints.WebSocket(path="/x"), "security": endpoints.Tls()},
        {"protocol": "trojan", "security": endpoints.Tls()},
    ],
)
def test_what_v2ray_has_is_served(changes: dict[str, Any]) -> None:
    assert reach.beyond([msgspec.structs.replace(fleet.endpoint(), **changes)], V2RAY) == {}


LINE = b"2026/11/22 03:44:55 198.51.100.7:51064 accepted tcp:example.org:443 [direct] email: u1-e2"


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (LINE, "198.51.100.7"),
        (LINE.replace(b"198.51.100.7:", b"[2001:db8::7]:"), "2001:db8::7"),
        (LINE.replace(b"198.", b"tcp:198."), "198.51.100.7"),
        (LINE.replace(b"198.", b"from 198."), "198.51.100.7"),
        (LINE + b"\r", "198.51.100.7"),
    ],
)
def test_a_line_of_the_log_tells_whose_a_connection_is(line: bytes, address: str) -> None:
    assert accesslog.event(line) == webhook.Event("u1-e2", sockets.peer(address, 51_064))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        LINE.replace(b"accepted", b"rejected"),
        LINE.replace(b" email: u1-e2", b""),
        LINE.replace(b"51064", b"99999"),
        LINE.replace(b"198.51.100.7", b"localhost"),
        b"2026/11/22 03:44:53 [Warning] v2ray.com/core: V2Ray 4.34.0 started",
    ],
)
def test_other_lines_tell_of_no_connection(line: bytes) -> None:
    assert accesslog.event(line) is None


@given(st.binary())
def test_rubbish_in_the_log_harms_nobody(line: bytes) -> None:
    accesslog.event(line)
    accesslog.event(LINE[:20] + line)
