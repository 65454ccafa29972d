"""Endpoints over the API: keys are made, private ones never shown, parts told apart by their type."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from collector import certificates, keys, main
from collector.app import endpoints
from collector.fronts.rest import routes
from shared.endpoints import Reality, Shadowsocks, Tls, WireGuard
from shared.names import EndpointId
from tests.collector.fronts.rig import Rig

REALITY = {"type": "reality", "target": "www.example.org:443", "server_names": ["www.example.org"]}
INTERFACE = {"type": "wireguard", "addresses": ["10.8.0.1/24"]}
SS2022 = {"type": "shadowsocks", "method": "2022-blake3-aes-128-gcm"}


def _made(rig: Rig, token: str, node: str = "node-1", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - as NewEndpoint has them
    body = {"name": "way", "protocol": "vless", "port": 8443, **fields}
    answer = rig.send("POST", f"/api/v1/nodes/{rig.node(node)}/endpoints", body, token=token)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    assert rig.send("GET", f"/api/v1/endpoints/{shown['id']}", token=token).json() == shown
    return shown


def _patched(rig: Rig, token: str, number: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - as EndpointChanges has them
    answer = rig.send("PATCH", f"/api/v1/endpoints/{number}", fields, token=token)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def _kept(rig: Rig, number: int) -> Any:  # noqa: ANN401 - what its parts are is what is asked
    return rig.data.read_now(endpoints.one, EndpointId(number))


def _pair(directory: Path, rig: Rig) -> tuple[str, str]:
    """A certificate with its chain, and its key."""
    text = certificates.server_file(directory, ("a.example",), rig.now_ms).read_text()
    end = text.index("-----BEGIN CERTIFICATE")
    return text[end:], text[:end]


def test_an_endpoint_of_which_little_is_said_shows_what_it_is(rig: Rig) -> None:
    shown = _made(rig, rig.admin())
    assert (shown["transport"], shown["security"]) == ({"type": "tcp"}, {"type": "none"})
    assert (shown["options"], shown["extra"], shown["host"]) == (None, None, None)


def test_reality_gets_a_key_and_a_short_id_and_shows_the_public_one(rig: Rig) -> None:
    token = rig.admin()
    shown = _made(rig, token, security=REALITY)
    kept = _kept(rig, shown["id"]).security
    assert isinstance(kept, Reality)
    assert shown["security"]["public_key"] == keys.reality_public(kept.private_key)
    assert shown["security"]["short_ids"] == list(kept.short_ids)
    assert len(kept.short_ids[0]) == 16
    assert kept.private_key not in json.dumps(shown)
    assert _made(rig, token, "node-2", security=REALITY)["security"] != shown["security"]
    after = _patched(rig, token, shown["id"], security=REALITY | {"target": "b.org:443"})["security"]
    assert after == shown["security"] | {"target": "b.org:443"}


def test_wireguard_gets_a_key_and_shows_the_public_one(rig: Rig) -> None:
    token = rig.admin()
    shown = _made(rig, token, protocol="wireguard", options=INTERFACE)
    kept = _kept(rig, shown["id"]).options
    assert isinstance(kept, WireGuard)
    assert shown["options"]["public_key"] == keys.wireguard_public(kept.private_key)
    assert kept.private_key not in json.dumps(shown)
    assert shown["transport"] is None
    assert _patched(rig, token, shown["id"], options=INTERFACE | {"mtu": 1300})["options"] == {
        **shown["options"],
        "mtu": 1300,
    }


def test_shadowsocks_of_2022_gets_a_key_which_clients_need(rig: Rig) -> None:
    shown = _made(rig, rig.admin(), protocol="shadowsocks", options=SS2022)
    kept = _kept(rig, shown["id"]).options
    assert isinstance(kept, Shadowsocks)
    assert shown["options"]["key"] == kept.key
    assert len(base64.b64decode(kept.key)) == 16


def test_vless_encryption_shows_the_half_of_clients(rig: Rig) -> None:
    private = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
    decryption = f"mlkem768x25519plus.native.600s.{private}"
    shown = _made(rig, rig.admin(), options={"type": "vless", "decryption": decryption})
    assert shown["options"]["encryption"] == keys.vless_encryption(decryption)
    assert private not in json.dumps(shown)


def test_a_certificate_is_shown_and_its_key_is_not(rig: Rig, tmp_path: Path) -> None:
    token, (certificate, key) = rig.admin(), _pair(tmp_path, rig)
    tls = {"type": "tls", "server_name": "a.example", "certificate": certificate, "key": key}
    shown = _made(rig, token, protocol="hysteria", security=tls)
    assert shown["security"]["certificate"] == certificate
    assert "PRIVATE" not in json.dumps(shown)
    changed = _patched(rig, token, shown["id"], security={"type": "tls", "alpn": ["h3"]})
    assert changed["security"]["certificate"] == certificate
    kept = _kept(rig, shown["id"]).security
    assert isinstance(kept, Tls)
    assert (kept.key, kept.alpn) == (key, ("h3",))


def test_a_key_of_another_certificate_is_refused_by_field(rig: Rig, tmp_path: Path) -> None:
    token = rig.admin()
    (certificate, key), (_, other) = _pair(tmp_path / "a", rig), _pair(tmp_path / "b", rig)
    tls = {"type": "tls", "certificate": certificate, "key": key}
    shown = _made(rig, token, security=tls)
    for method, path, body in (
        ("PATCH", f"/api/v1/endpoints/{shown['id']}", {}),
        ("POST", f"/api/v1/nodes/{shown['node']}/endpoints", {"name": "x", "protocol": "vless", "port": 1}),
    ):
        answer = rig.send(method, path, {**body, "security": tls | {"key": other}}, token=token)
        assert answer.status_code == 422
        assert list(answer.json()["fields"]) == ["security.key"]
        assert other not in answer.text


def test_raw_json_hides_its_secrets_and_keeps_them_when_sent_back(rig: Rig) -> None:
    token = rig.admin()
    extra = {"streamSettings": {"tlsSettings": {"echServerKeys": "hush", "minVersion": "1.3"}}}
    shown = _made(rig, token, extra=extra)
    assert "hush" not in json.dumps(shown)
    changed = _patched(rig, token, shown["id"], extra=shown["extra"], name="other")
    assert changed == shown | {"name": "other"}
    assert _kept(rig, shown["id"]).extra == extra


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"transport": {"type": "carrier-pigeon"}}, "transport.type"),
        ({"transport": {"type": "tcp", "path": "/"}}, "transport"),
        ({"transport": {}}, "transport"),
        ({"security": {"type": "reality", "target": "a.org:443"}}, "security"),
        ({"security": REALITY | {"server_names": ["*.a.org"]}}, "security.server_names"),
        ({"extra": []}, "extra"),
        ({"extra": {"settings": {"clients": []}}}, "extra.settings.clients"),
        ({"options": {"type": "shadowsocks", "method": "rc4-md5"}}, "options.method"),
    ],
)
def test_a_wrong_part_is_named_by_its_field(rig: Rig, fields: dict[str, Any], field: str) -> None:
    token = rig.admin()
    endpoint = rig.endpoint(rig.node())
    body = {"name": "way", "protocol": "vless", "port": 8443, **fields}
    for answer in (
        rig.send("POST", "/api/v1/nodes/1/endpoints", body, token=token),
        rig.send("PATCH", f"/api/v1/endpoints/{endpoint}", fields, token=token),
    ):
        assert answer.status_code == 422, answer.text
        assert list(answer.json()["fields"]) == [field]


def test_bodies_with_certificates_may_be_long(rig: Rig) -> None:
    token = rig.admin()
    shown = _made(rig, token, extra={"sniffing": {"x": ["y" * 1_000] * 60}})
    assert len(json.dumps(shown)) > 60_000
    long = {"sniffing": {"x": ["y" * 1_000] * 100}}
    answer = rig.send("PATCH", f"/api/v1/endpoints/{shown['id']}", {"extra": long}, token=token)
    assert (answer.status_code, list(answer.json()["fields"])) == (422, ["extra"])
    assert len(json.dumps(long)) > routes.SMALL_BYTES


def test_whoever_may_not_administer_sees_no_parts(rig: Rig) -> None:
    admin, manager = rig.admin(), rig.manager("reseller")
    _made(rig, admin, security=REALITY, host="vpn.example.org")
    (place,) = rig.send("GET", "/api/v1/endpoints", token=rig.manager_token(manager)).json()["endpoints"]
    assert set(place) == {"id", "name", "protocol", "factor_permille", "node", "region"}


def test_unions_are_described_as_one_of_several_by_their_type() -> None:
    schemas = json.loads(main.document())["components"]["schemas"]
    security = schemas["EndpointChanges"]["properties"]["security"]
    assert security["discriminator"]["propertyName"] == "type"
    assert {one["$ref"].rpartition("/")[2] for one in security["oneOf"]} == {"Plain", "Tls", "Reality"}
    assert set(security["discriminator"]["mapping"]) == {"none", "tls", "reality"}
    shown = schemas["EndpointView"]["properties"]["security"]["oneOf"]
    names = {one["$ref"].rpartition("/")[2] for one in shown}
    assert names == {"Plain", "TlsView", "RealityView"}
    assert not {"key", "private_key"} & {field for name in names for field in schemas[name]["properties"]}
    assert "anyOf" not in security
