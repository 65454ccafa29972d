"""What is refused before Xray is asked, in which words; and what `extra` can and cannot change."""

import base64
import string
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.xray import certificates, checks, config, inbounds, kinds, streams
from shared import endpoints
from shared.messages import Endpoint
from shared.names import EndpointId
from tests.agent.drivers.xray import kinds_of_endpoints
from tests.matrix import keys

KEY = base64.b64encode(bytes(32)).decode()
TLS = endpoints.Tls(certificate_file="/c", key_file="/k")
VISION = endpoints.Vless(flow="xtls-rprx-vision")
REALITY = endpoints.Reality(
    target="site.test:443", server_names=("site.test",), short_ids=("ab",), private_key=keys.pair().url()[0]
)
LOCKED = f"mlkem768x25519plus.native.600s.{keys.pair().url()[0]}"


def made(protocol: str = "vless", **more: object) -> Endpoint:
    return Endpoint(endpoint=EndpointId(1), protocol=protocol, port=443, **more)  # type: ignore[arg-type]  # any


GOOD = [
    made(),
    made(options=endpoints.Vless(decryption=LOCKED)),
    made(options=VISION, security=TLS),
    made(options=VISION, security=REALITY),
    made(options=endpoints.Vless(flow=VISION.flow, decryption=LOCKED), transport=endpoints.Xhttp()),
    made(security=endpoints.Tls(certificate="text", key="text")),
    made("vmess", transport=endpoints.Mkcp()),
    made("trojan", security=REALITY, transport=endpoints.Grpc(service="a")),
    made("shadowsocks", options=endpoints.Shadowsocks(method="aes-128-gcm")),
    made("shadowsocks", options=endpoints.Shadowsocks(method="2022-blake3-aes-256-gcm", key=KEY)),
    made("hysteria", security=TLS),
    made("xray-wireguard", options=endpoints.WireGuard(private_key=KEY, addresses=("10.0.0.1/24",))),
]

BAD = [
    (made("wireguard"), "the protocol 'wireguard' is not served here"),
    (made("vmess", options=VISION), "its options are those of another protocol"),
    (made(options=endpoints.Shadowsocks(method="aes-128-gcm")), "its options are those of another protocol"),
    (made(options=VISION), "the flow xtls-rprx-vision needs TLS, REALITY or VLESS encryption"),
    (made(options=VISION, security=TLS, transport=endpoints.WebSocket()), "needs the transport tcp"),
    (made(options=endpoints.Vless(decryption="some")), "its decryption is neither 'none' nor what"),
    (made("shadowsocks"), "a Shadowsocks endpoint needs its method in options"),
    (
        made("shadowsocks", options=endpoints.Shadowsocks(method="2022-blake3-aes-128-gcm", key=KEY)),
        "the key of 2022-blake3-aes-128-gcm must be 16 bytes in base64",
    ),
    (made("hysteria"), "Hysteria needs TLS"),
    (made("hysteria", security=TLS, transport=endpoints.Grpc(service="a")), "a transport of its own"),
    (made("xray-wireguard"), "a WireGuard endpoint needs its private key in options"),
    (
        made("xray-wireguard", options=endpoints.WireGuard(private_key="x", addresses=("nowhere",))),
        "'nowhere' is not an address",
    ),
    (made(transport=endpoints.WebSocket(path="a")), "the path 'a' does not begin with a slash"),
    (made(transport=endpoints.Grpc(service="")), "the gRPC service needs a name"),
    (made(transport=endpoints.Mkcp(mtu=20)), "the MTU 20 is not between"),
    (made(security=endpoints.Tls()), "TLS needs a certificate and its key"),
    (made(security=endpoints.Tls(certificate="a", key_file="/k")), "TLS needs a certificate and its key"),
    (made(security=endpoints.Tls(certificate_file="c", key_file="/k")), "must be absolute paths"),
    (made(security=REALITY, transport=endpoints.WebSocket()), "REALITY goes with the transports"),
    (made(security=msgspec.structs.replace(REALITY, target="site")), "is not a host and a port"),
    (made(security=msgspec.structs.replace(REALITY, server_names=())), "REALITY needs the names"),
    (made(security=msgspec.structs.replace(REALITY, private_key="x")), "not what `xray x25519` prints"),
    (made(security=msgspec.structs.replace(REALITY, short_ids=())), "REALITY needs a short id"),
    (made(security=msgspec.structs.replace(REALITY, short_ids=("abc",))), "the short id 'abc' is not up to"),
    (made(extra={"port": 1}), "extra must not have 'port'"),
    (made(extra={"settings": {"clients": []}}), "extra must not have 'settings.clients'"),
]


@pytest.mark.parametrize("endpoint", GOOD, ids=range(len(GOOD)))
def test_a_good_endpoint_is_not_complained_of(endpoint: Endpoint) -> None:
    assert checks.alone(endpoint) == []


@pytest.mark.parametrize(("endpoint", "said"), BAD, ids=[said for _, said in BAD])
def test_what_xray_would_not_serve_is_refused_in_words(endpoint: Endpoint, said: str) -> None:
    found = checks.alone(endpoint)
    assert any(said in sentence for sentence in found), found
    assert all(sentence.startswith("endpoint 1: ") for sentence in found)


def test_a_port_can_be_had_twice_when_one_is_for_packets_and_one_is_not() -> None:
    stream, packets = made(), msgspec.structs.replace(made("hysteria", security=TLS), endpoint=EndpointId(2))
    both = {one.endpoint: one for one in (stream, packets)}
    assert checks.problems(both) == []
    shadowsocks = made("shadowsocks", options=endpoints.Shadowsocks(method="aes-128-gcm"))
    taken = {**both, EndpointId(3): msgspec.structs.replace(shadowsocks, endpoint=EndpointId(3))}
    assert len(checks.problems(taken)) == 2


TREES = st.recursive(
    st.integers() | st.text(string.ascii_letters, max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from(
            ["tag", "listen", "port", "protocol", "settings", "clients", "users", "peers", "flow"]
        )
        | st.text(string.ascii_letters, max_size=3),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["tag", "port", "settings", "sniffing", "x"]), TREES, max_size=4))
def test_extra_never_changes_who_an_endpoint_is_or_who_may_use_it(extra: dict[str, Any]) -> None:
    login = {"u1-e1": kinds.Login("vless", "6f1f6a1c-7d55-4b0a-9d2c-0a4a8c5b1e01")}
    before = inbounds.build(made(), login, bytes(32))
    after = inbounds.build(made(extra=extra), login, bytes(32))
    for name in ("tag", "listen", "port", "protocol"):
        assert after[name] == before[name]
    for name in inbounds.OUR_SETTINGS:
        assert after["settings"].get(name) == before["settings"].get(name)


def test_extra_is_merged_deeply() -> None:
    extra = {"streamSettings": {"wsSettings": {"heartbeatPeriod": 10}}, "settings": {"fallbacks": []}}
    inbound = inbounds.build(made(transport=endpoints.WebSocket(path="/a"), extra=extra), {}, bytes(32))
    assert inbound["streamSettings"]["wsSettings"] == {"path": "/a", "heartbeatPeriod": 10}
    assert inbound["settings"] == {"decryption": "none", "clients": [], "fallbacks": []}


@given(TREES, TREES)
def test_merging_keeps_what_only_one_side_has(one: object, other: object) -> None:
    left, right = {"a": one, "b": 1}, {"a": other, "c": 2}
    joined = inbounds.merged(left, right)
    assert (joined["b"], joined["c"]) == (1, 2)
    assert inbounds.merged(joined, right) == joined


@pytest.mark.parametrize("kind", kinds_of_endpoints.KINDS)
def test_a_fingerprint_is_of_the_endpoint_and_of_nothing_else(tmp_path: Path, kind: str) -> None:
    one = kinds_of_endpoints.endpoint(kind, tmp_path)
    assert config.fingerprint(one) == config.fingerprint(msgspec.structs.replace(one))
    assert config.fingerprint(one) != config.fingerprint(msgspec.structs.replace(one, port=one.port + 1))


def test_a_seed_of_mkcp_becomes_the_mask_that_xray_heeds() -> None:
    made_of = streams.build(made(transport=endpoints.Mkcp(seed="pumpkin", mtu=1200)))
    assert made_of["kcpSettings"] == {"mtu": 1200}
    mask = {"type": "mkcp-legacy", "settings": {"value": "pumpkin"}}
    assert made_of["finalmask"] == {"udp": [mask]}


def test_a_certificate_that_cannot_be_used_is_told_in_words(tmp_path: Path) -> None:
    files = keys.certificate(tmp_path)
    other = keys.certificate(tmp_path / _made(tmp_path / "other"))
    (tmp_path / "empty").touch()

    def said(certificate: Path, key: Path) -> str | None:
        tls = endpoints.Tls(certificate_file=str(certificate), key_file=str(key))
        return certificates.problem(made(security=tls))

    assert said(files.certificate, files.key) is None
    assert "the key does not belong to the certificate" in str(said(files.certificate, other.key))
    assert "there is no PEM where the certificate ought" in str(said(tmp_path / "empty", files.key))
    (tmp_path / "half").write_text(files.key.read_text()[:60])
    assert "OpenSSL does not take them" in str(said(files.certificate, tmp_path / "half"))
    missing = f"endpoint 1: the file {tmp_path}/none cannot be read: No such file or directory"
    assert said(tmp_path / "none", files.key) == missing


def test_a_certificate_in_text_is_tried_as_well(tmp_path: Path) -> None:
    files = keys.certificate(tmp_path)
    certificate, key = files.certificate.read_text(), files.key.read_text()
    good = endpoints.Tls(certificate=certificate, key=key)
    assert certificates.problem(made(security=good)) is None
    said = certificates.problem(made(security=endpoints.Tls(certificate=certificate, key="a secret")))
    assert said is not None
    assert "a secret" not in said
    assert certificates.problem(made()) is None


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
