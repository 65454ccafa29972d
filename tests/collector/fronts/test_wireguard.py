"""What users are on WireGuard endpoints, over the API: shown, changed, and handed out as text and QR code."""

import base64
import io
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
import segno
import zxingcpp

from collector.domain import wgquick, wireguard
from tests.collector.fronts.rig import INTERFACE_KEY, Joined, Rig

OWN = wireguard.public_of(base64.b64encode(b"o" * 32).decode())


@pytest.fixture
def node(rig: Rig) -> Joined:
    return rig.joined()


def _config(rig: Rig, user: int, tunnel: int, token: str) -> dict[str, str]:
    answer = rig.send("GET", f"/api/v1/users/{user}/wireguard/{tunnel}/config", token=token)
    assert answer.status_code == 200, answer.text
    lines = (line.partition(" = ") for line in answer.text.splitlines() if " = " in line)
    return {name: value for name, _, value in lines}


def test_a_user_is_shown_without_his_secrets(rig: Rig, node: Joined) -> None:
    tunnel, admin = rig.tunnel(node.id), rig.admin()
    user = rig.user("ada", tunnel, rig.endpoint(node.id))
    answer = rig.send("GET", f"/api/v1/users/{user}/wireguard", token=admin)
    config = _config(rig, user, tunnel, admin)
    public = wireguard.public_of(config["PrivateKey"])
    assert answer.json() == {
        "tunnels": [
            {
                "endpoint": tunnel,
                "name": "tunnel",
                "public_key": public,
                "own_key": False,
                "v4": "10.66.0.2",
                "v6": "fd00::2",
                "v4_fixed": False,
                "v6_fixed": False,
            }
        ]
    }


def test_the_configuration_is_text_that_wg_quick_reads(rig: Rig, node: Joined, tmp_path: Path) -> None:
    tunnel, admin = rig.tunnel(node.id, host="2001:db8::7"), rig.admin()
    user = rig.user("ada", tunnel)
    answer = rig.send("GET", f"/api/v1/users/{user}/wireguard/{tunnel}/config", token=admin)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    config = _config(rig, user, tunnel, admin)
    assert config | {"PrivateKey": "", "PresharedKey": ""} == {
        "PrivateKey": "",
        "Address": "10.66.0.2/32, fd00::2/128",
        "DNS": "9.9.9.9, 2620:fe::fe",
        "MTU": "1420",
        "PublicKey": wireguard.public_of(INTERFACE_KEY),
        "PresharedKey": "",
        "Endpoint": "[2001:db8::7]:51820",
        "AllowedIPs": "0.0.0.0/0, ::/0",
        "PersistentKeepalive": "25",
    }
    path = tmp_path / "tide0.conf"
    path.write_text(answer.text)
    path.chmod(0o600)
    done = subprocess.run(["wg-quick", "strip", str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert f"PresharedKey = {config['PresharedKey']}" in done.stdout
    assert "DNS" not in done.stdout


@pytest.mark.parametrize(("kind", "media"), [("png", "image/png"), ("svg", "image/svg+xml")])
def test_a_qr_code_is_the_configuration(rig: Rig, node: Joined, kind: str, media: str) -> None:
    tunnel, admin = rig.tunnel(node.id), rig.admin()
    user = rig.user("ada", tunnel)
    path = f"/api/v1/users/{user}/wireguard/{tunnel}"
    text = rig.send("GET", f"{path}/config", token=admin).text
    answer = rig.send("GET", f"{path}/qr.{kind}", token=admin)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    assert answer.headers["cache-control"] == "no-store"
    if kind == "png":
        assert _read(answer.content) == text
    else:
        drawn = io.BytesIO()
        segno.make(text, error="m", micro=False).save(drawn, kind="svg", scale=4)
        assert answer.content == drawn.getvalue()
        assert b"script" not in answer.content


def test_a_rotation_changes_the_keys_in_the_configuration_only(rig: Rig, node: Joined) -> None:
    tunnel, admin = rig.tunnel(node.id), rig.admin()
    user = rig.user("ada", tunnel)
    before = _config(rig, user, tunnel, admin)
    shown = rig.send("POST", f"/api/v1/users/{user}/wireguard/{tunnel}/rotate", token=admin).json()
    after = _config(rig, user, tunnel, admin)
    assert {name for name in before if before[name] != after[name]} == {"PrivateKey", "PresharedKey"}
    assert shown["public_key"] == wireguard.public_of(after["PrivateKey"])


def test_a_user_with_keys_of_his_own_gets_a_text_to_complete_and_no_qr_code(rig: Rig, node: Joined) -> None:
    tunnel, admin = rig.tunnel(node.id), rig.admin()
    body = {"name": "ada", "endpoints": [tunnel], "wireguard": {str(tunnel): {"public_key": OWN}}}
    user = rig.send("POST", "/api/v1/users", body, token=admin).json()["id"]
    path = f"/api/v1/users/{user}/wireguard/{tunnel}"
    assert _config(rig, user, tunnel, admin)["PrivateKey"] == wgquick.PLACEHOLDER
    refused = rig.send("GET", f"{path}/qr.png", token=admin)
    assert refused.status_code == 409
    assert "as text" in refused.json()["detail"]
    shown = rig.send("PATCH", path, {"public_key": None}, token=admin).json()
    assert (shown["own_key"], shown["public_key"] != OWN) == (False, True)
    assert rig.send("GET", f"{path}/qr.png", token=admin).status_code == 200


def test_an_address_may_be_asked_for_when_a_user_is_placed(rig: Rig, node: Joined) -> None:
    tunnel, admin = rig.tunnel(node.id), rig.admin()
    user = rig.user("ada")
    body = {"endpoints": [tunnel], "wireguard": {str(tunnel): {"v4": "10.66.0.50"}}}
    assert rig.send("POST", f"/api/v1/users/{user}/configs", body, token=admin).status_code == 200
    (shown,) = rig.send("GET", f"/api/v1/users/{user}/wireguard", token=admin).json()["tunnels"]
    assert (shown["v4"], shown["v4_fixed"], shown["v6_fixed"]) == ("10.66.0.50", True, False)
    other = rig.user("eve", tunnel)
    taken = rig.send("PATCH", f"/api/v1/users/{other}/wireguard/{tunnel}", {"v4": "10.66.0.50"}, token=admin)
    assert (taken.status_code, set(taken.json()["fields"])) == (409, {"v4"})
    wrong = rig.send("PATCH", f"/api/v1/users/{other}/wireguard/{tunnel}", {"v4": "10.66.0.1"}, token=admin)
    assert (wrong.status_code, set(wrong.json()["fields"])) == (422, {"v4"})


def test_without_a_host_the_admin_is_told_to_set_it(rig: Rig, node: Joined) -> None:
    tunnel, admin = rig.tunnel(node.id, host=None), rig.admin()
    user = rig.user("ada", tunnel)
    for what in ("config", "qr.svg", "qr.png"):
        refused = rig.send("GET", f"/api/v1/users/{user}/wireguard/{tunnel}/{what}", token=admin)
        assert refused.status_code == 409
        assert "set its host" in refused.json()["detail"]


def test_a_manager_gets_nothing_of_users_that_are_not_his(rig: Rig, node: Joined) -> None:
    tunnel = rig.tunnel(node.id)
    mine, theirs = rig.manager("mine"), rig.manager("theirs")
    user = rig.user("ada", tunnel, manager=theirs)
    token = rig.manager_token(mine)
    for what in ("", "/config", "/qr.png"):
        path = f"/api/v1/users/{user}/wireguard" + (f"/{tunnel}{what}" if what else "")
        assert rig.send("GET", path, token=token).status_code == 404
    assert _config(rig, user, tunnel, rig.manager_token(theirs))["Address"]


def test_an_endpoint_that_is_not_the_users_is_not_found(rig: Rig, node: Joined) -> None:
    admin, user = rig.admin(), rig.user("ada", rig.endpoint(node.id))
    tunnel = rig.tunnel(node.id)
    for method, path in (("GET", "/config"), ("GET", "/qr.svg"), ("POST", "/rotate")):
        answer = rig.send(method, f"/api/v1/users/{user}/wireguard/{tunnel}{path}", token=admin)
        assert answer.status_code == 404


def _read(picture: bytes) -> str:
    """What a camera reads in a picture of segno's: one bit a pixel (PNG sections 4.1 and 6)."""
    width, height, depth, colours = struct.unpack(">IIBB", picture[16:26])
    assert (depth, colours) == (1, 0)
    body, at = b"", 8
    while at < len(picture):
        (length,) = struct.unpack(">I", picture[at : at + 4])
        body += picture[at + 8 : at + 8 + length] if picture[at + 4 : at + 8] == b"IDAT" else b""
        at += 12 + length
    pixels, grey = zlib.decompress(body), bytearray()
    stride = (width + 7) // 8
    above = bytes(stride)
    for top in range(0, (1 + stride) * height, 1 + stride):
        kind, row = pixels[top], pixels[top + 1 : top + 1 + stride]
        assert kind in {0, 2}
        above = bytes((one + up) % 256 for one, up in zip(row, above, strict=True)) if kind else row
        grey += bytes(255 * (above[column // 8] >> 7 - column % 8 & 1) for column in range(width))
    (found,) = zxingcpp.read_barcodes(memoryview(grey).cast("B", (height, width)))
    return str(found.text)
