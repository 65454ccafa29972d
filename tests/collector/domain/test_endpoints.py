"""Endpoints: what goes together, what is refused by which field, and what is never told."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.domain import desired, endpoints, events, keys
from collector.domain.endpoints import PROTOCOLS, Endpoint, EndpointChanges, NewEndpoint
from shared import messages
from shared.endpoints import Options, Security, Transport
from shared.names import EndpointId, NodeId

KEY = base64.b64encode(bytes(range(32))).decode()
URL_KEY = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
SHORT_KEY = base64.b64encode(bytes(16)).decode()
CHANCE = bytes(range(200, 200 + keys.CHANCE_BYTES))
DECRYPTION = f"mlkem768x25519plus.native.600s.{URL_KEY}"
PADDED = f"mlkem768x25519plus.random.300-600s.100-111-1111.75-0-111.50-0-3333.{URL_KEY}.{'A' * 86}"

TCP = {"type": "tcp"}
WEB = {"type": "websocket", "path": "/way"}
GRPC = {"type": "grpc", "service": "way"}
UPGRADE = {"type": "httpupgrade"}
XHTTP = {"type": "xhttp", "path": "/way", "mode": "packet-up"}
KCP = {"type": "mkcp", "seed": "salt"}
NONE = {"type": "none"}
TLS = {"type": "tls", "certificate_file": "/etc/c.pem", "key_file": "/etc/k.pem"}
REALITY = {
    "type": "reality",
    "target": "www.example.org:443",
    "server_names": ["www.example.org"],
    "private_key": URL_KEY,
    "short_ids": ["", "00ff"],
}
VISION = {"type": "vless", "flow": "xtls-rprx-vision"}
SECRET = {"type": "vless", "decryption": DECRYPTION}
OLD = {"type": "shadowsocks", "method": "aes-128-gcm"}
NEW = {"type": "shadowsocks", "method": "2022-blake3-aes-256-gcm", "key": KEY}
INTERFACE = {"type": "wireguard", "private_key": KEY, "addresses": ["10.8.0.1/24", "fd00:8::1/64"]}


def new(protocol: str = "vless", **fields: Any) -> NewEndpoint:  # noqa: ANN401 - as NewEndpoint has them
    return msgspec.convert({"name": "way", "protocol": protocol, "port": 443, **fields}, NewEndpoint)


def made(protocol: str = "vless", number: int = 1, **fields: Any) -> Endpoint:  # noqa: ANN401 - the same
    asked = new(protocol, **fields)
    assert endpoints.wrong(asked) == {}
    return msgspec.convert({**_fields(endpoints.fresh(NodeId(1), asked)), "id": EndpointId(number)}, Endpoint)


def _fields(endpoint: Endpoint) -> dict[str, Any]:
    return {name: getattr(endpoint, name) for name in endpoint.__dataclass_fields__}


CARRIED = ("vless", "vmess", "trojan")
GOOD: list[tuple[str, dict[str, Any]]] = [
    *((one, {"transport": way, "security": TLS}) for one in CARRIED for way in (TCP, WEB, GRPC, UPGRADE)),
    *((one, {"transport": way, "security": TLS}) for one in CARRIED for way in (XHTTP, KCP)),
    *((one, {"transport": way, "security": REALITY}) for one in CARRIED for way in (TCP, GRPC, XHTTP)),
    *((one, {"transport": way}) for one in CARRIED for way in (WEB, GRPC, UPGRADE, XHTTP)),
    *((one, {"transport": way}) for one in ("vless", "vmess") for way in (TCP, KCP)),
    *(("vless", {"security": one, "options": VISION}) for one in (TLS, REALITY)),
    ("vless", {"transport": WEB, "options": SECRET | VISION}),
    ("vless", {"options": {"type": "vless", "decryption": PADDED}}),
    ("vless", {"transport": XHTTP, "security": TLS | {"alpn": ["h3"]}}),
    ("vless", {"transport": GRPC, "security": TLS | {"alpn": ["h2"]}}),
    ("shadowsocks", {"options": OLD}),
    ("shadowsocks", {"options": NEW, "transport": TCP, "security": NONE}),
    ("hysteria", {"security": TLS}),
    ("hysteria", {"security": TLS | {"alpn": ["h3"]}}),
    *((one, {"options": INTERFACE}) for one in ("wireguard", "xray-wireguard")),
    ("wireguard", {"options": INTERFACE | {"masquerade": False}, "security": NONE}),
    ("vless", {"host": "vpn.example.org"}),
    ("vless", {"host": "2001:db8::1"}),
    ("vless", {"extra": {"sniffing": {"enabled": True}, "settings": {"fallbacks": [{"dest": 80}]}}}),
]


@pytest.mark.parametrize(("protocol", "fields"), GOOD, ids=str)
def test_what_xray_serves_is_accepted(protocol: str, fields: dict[str, Any]) -> None:
    assert endpoints.wrong(new(protocol, **fields)) == {}


def _tls(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - as the part has them
    return {"security": TLS | fields}


def _reality(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - as the part has them
    return {"security": REALITY | fields}


def _interface(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - as the part has them
    return {"options": INTERFACE | fields}


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("socks", {}, "protocol"),
    # What goes together.
    ("vless", {"options": VISION}, "options.flow"),
    ("vless", {"options": VISION, "transport": WEB, "security": TLS}, "options.flow"),
    ("vless", {"options": VISION, "transport": KCP, "security": TLS}, "options.flow"),
    *(("vless", {"transport": way, "security": REALITY}, "security") for way in (WEB, UPGRADE, KCP)),
    ("trojan", {}, "security"),
    ("trojan", {"transport": KCP}, "security"),
    ("shadowsocks", {"options": OLD, "transport": WEB}, "transport"),
    ("shadowsocks", {"options": OLD, "security": TLS}, "security"),
    ("shadowsocks", {}, "options"),
    ("shadowsocks", {"options": VISION}, "options"),
    ("vmess", {"options": VISION}, "options"),
    ("trojan", {"security": TLS, "options": SECRET}, "options"),
    ("hysteria", {}, "security"),
    ("hysteria", {"security": REALITY}, "security"),
    ("hysteria", {"security": TLS, "transport": TCP}, "transport"),
    ("hysteria", {"security": TLS, "transport": KCP}, "transport"),
    ("hysteria", {"security": TLS | {"alpn": ["h2"]}}, "security.alpn"),
    ("wireguard", {}, "options"),
    ("wireguard", {"options": INTERFACE, "transport": TCP}, "transport"),
    ("wireguard", {"options": INTERFACE, "transport": WEB}, "transport"),
    ("wireguard", {"options": INTERFACE, "security": TLS}, "security"),
    ("wireguard", {"options": INTERFACE, "extra": {"settings": {}}}, "extra"),
    ("xray-wireguard", _interface(masquerade=False), "options.masquerade"),
    # Transports.
    *(("vless", {"transport": WEB | {"path": path}}, "transport.path") for path in ("way", "", "/a?b=c")),
    *(
        ("vless", {"transport": XHTTP | {"path": path}}, "transport.path")
        for path in ("/a b", "/a\n", "/%41")
    ),
    *(("vless", {"transport": WEB | {"host": one}}, "transport.host") for one in ("a:443", "::1", "a b")),
    *(
        ("vless", {"transport": {"type": "grpc", "service": one}}, "transport.service")
        for one in ("", "/a|b")
    ),
    ("vless", {"transport": KCP | {"mtu": 100}}, "transport.mtu"),
    ("vless", {"transport": KCP | {"seed": "a\x00"}}, "transport.seed"),
    # TLS.
    ("vless", {"security": {"type": "tls"}}, "security.certificate"),
    ("vless", _tls(certificate="x"), "security.certificate"),
    ("vless", _tls(key_file=""), "security.certificate"),
    ("vless", _tls(key_file="k.pem"), "security.key_file"),
    ("vless", _tls(certificate_file="/etc/../c.pem"), "security.certificate_file"),
    ("vless", _tls(certificate_file="/etc/c\n.pem"), "security.certificate_file"),
    ("vless", {"security": {"type": "tls", "certificate": "\x07", "key": "k"}}, "security.certificate"),
    (
        "vless",
        {"security": {"type": "tls", "certificate": "-----BEGIN PRIVATE KEY-----", "key": "k"}},
        "security.certificate",
    ),
    ("vless", _tls(server_name="*.example.org"), "security.server_name"),
    *(("vless", _tls(alpn=words), "security.alpn") for words in (["h4"], ["h2", "h2"], ["h3"])),
    ("vless", {"transport": GRPC, **_tls(alpn=["http/1.1"])}, "security.alpn"),
    ("vless", {"transport": WEB, **_tls(alpn=["h2"])}, "security.alpn"),
    ("vless", {"transport": XHTTP, **_tls(alpn=["h3", "h2"])}, "security.alpn"),
    # REALITY.
    *(("vless", _reality(target=one), "security.target") for one in ("a", "a:0", "a:70000", ":443", "[a]:1")),
    *(("vless", _reality(server_names=one), "security.server_names") for one in ([], [""], ["*.a.org"])),
    *(("vless", _reality(private_key=one), "security.private_key") for one in ("", KEY, URL_KEY + "=")),
    *(
        ("vless", _reality(short_ids=one), "security.short_ids")
        for one in ([], ["a"], ["0" * 18], ["AB"], ["0a", "0a"])
    ),
    # Keys and addresses.
    *(
        ("shadowsocks", {"options": NEW | {"key": one}}, "options.key")
        for one in ("", SHORT_KEY, "x", "é" * 8)
    ),
    ("shadowsocks", {"options": OLD | {"key": KEY}}, "options.key"),
    *(("wireguard", _interface(private_key=one), "options.private_key") for one in ("", SHORT_KEY, URL_KEY)),
    *(
        ("wireguard", _interface(addresses=one), "options.addresses")
        for one in (
            *([], ["10.8.0.1"], ["10.8.0.0/24"], ["10.8.0.255/24"], ["10.8.0.1/32"], ["10.8.0.1/7"]),
            *(["10.8.0.1/255.255.255.0"], ["fd00::/64"], ["fe80::1/64"], ["a/24"], ["127.0.0.1/8"]),
            *(["10.8.0.1/24", "10.8.0.2/25"], ["10.8.0.1/24"] * 2, ["fd00::1%eth0/64"], ["10.8.0.1/24\n"]),
        )
    ),
    *(("wireguard", _interface(mtu=one), "options.mtu") for one in (1279, 9001)),
    *(
        ("vless", {"options": {"type": "vless", "decryption": one}}, "options.decryption")
        for one in (
            *("", "yes", "mlkem768x25519plus.native.600s", f"mlkem768x25519plus.loud.600s.{URL_KEY}"),
            *(f"mlkem768x25519plus.native.600s.50-1-2.{URL_KEY}", DECRYPTION + "A", DECRYPTION + "\n"),
            f"mlkem768x25519plus.native.600s.100-99-99.1-1-1.100-99-65536.{URL_KEY}",
        )
    ),
    # Where clients connect to.
    *(
        ("vless", {"host": one}, "host")
        for one in ("", "a b", "http://a", "a:443", "[::1]", "1.2.3", "é.org")
    ),
]


@pytest.mark.parametrize(("protocol", "fields", "field"), BAD, ids=str)
def test_what_xray_would_not_serve_is_refused_by_field(
    protocol: str, fields: dict[str, Any], field: str
) -> None:
    found = endpoints.wrong(new(protocol, **fields))
    assert list(found) == [field]
    assert len(found[field]) > 10


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(["settings", "streamSettings", "Settings", "tag", "clients", "tlsSettings", "a"])
_WILD = st.dictionaries(_NAMES, st.dictionaries(_NAMES, _JSON, max_size=3) | _JSON, max_size=3)
_EXTRA = _WILD | st.dictionaries(st.sampled_from(["sniffing", "other"]), _JSON, max_size=2)
_WORDS = st.text(max_size=12) | st.sampled_from(
    [
        *("/", "/way", "a.example.org", "www.example.org:443", "none", "10.8.0.1/24", "00ff", "/etc/c.pem"),
        *("h2", "h3", KEY, URL_KEY, SHORT_KEY, DECRYPTION),
    ]
)
_PARTS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [TCP, WEB, GRPC, UPGRADE, XHTTP, KCP, NONE, TLS, REALITY, VISION, SECRET, OLD, NEW, INTERFACE]
)


@st.composite
def _near(draw: st.DrawFn, kind: object) -> object:
    """A part of this kind as it is good somewhere, often with one word of it exchanged."""
    part: dict[str, Any] = dict(draw(_PARTS.filter(lambda one: _is(one, kind))))
    for name, value in part.items():
        if name not in ("type", "method", "flow", "mode") and not draw(st.integers(0, 9)):
            if isinstance(value, str):
                part[name] = draw(_WORDS)
            elif isinstance(value, list):
                part[name] = draw(st.lists(_WORDS, max_size=3))
    return msgspec.convert(part, kind)


def _is(part: object, kind: object) -> bool:
    try:
        msgspec.convert(part, kind)
    except msgspec.ValidationError:
        return False
    return True


_NEW = st.builds(
    NewEndpoint,
    name=st.sampled_from(["way"] * 5 + [""]),
    protocol=st.sampled_from([*PROTOCOLS, "socks"]),
    port=st.sampled_from([0, 65536, *range(1, 10), 65535]),
    listen=st.sampled_from(["0.0.0.0", "::"] * 4 + ["::1%a", ""]),
    host=st.sampled_from([None, "vpn.example.org"]) | _WORDS,
    transport=st.none() | _near(Transport),
    security=st.none() | _near(Security),
    options=st.none() | _near(Options),
    extra=st.none() | _EXTRA,
)


@st.composite
def _almost(draw: st.DrawFn) -> NewEndpoint:
    """An endpoint that is good, with another transport, security or raw JSON now and then."""
    protocol, fields = draw(st.sampled_from(GOOD))
    parts = {
        "transport": _near(Transport),
        "security": _near(Security),
        "extra": _EXTRA,
    }
    for name in draw(st.sets(st.sampled_from(sorted(parts)), max_size=1)):
        fields = fields | {name: draw(parts[name])}
    return new(protocol, **fields)


@settings(max_examples=400, deadline=None)
@given(_NEW | _almost())
def test_every_endpoint_is_judged_and_an_accepted_one_travels_unchanged(asked: NewEndpoint) -> None:
    found = endpoints.wrong(asked)
    assert all(isinstance(problem, str) and problem for problem in found.values())
    if found:
        return
    endpoint = endpoints.fresh(NodeId(1), asked)
    body = desired.endpoint_item(endpoint)[1]
    told = msgspec.json.decode(body, type=messages.Endpoint)
    assert told.transport == endpoint.transport
    assert (told.security, told.options, told.extra) == (endpoint.security, endpoint.options, endpoint.extra)
    assert msgspec.json.encode(told) == body


def _filled(protocol: str, **fields: Any) -> Endpoint:  # noqa: ANN401 - as NewEndpoint has them
    asked = endpoints.filled(new(protocol, **fields), CHANCE)
    assert endpoints.wrong(asked) == {}
    return endpoints.fresh(NodeId(1), asked)


def test_keys_that_are_not_given_are_made_of_the_chance_that_is() -> None:
    bare = {"type": "reality", "target": "a.org:443", "server_names": ["a.org"]}
    reality = msgspec.to_builtins(_filled("vless", security=bare).security)
    assert len(base64.urlsafe_b64decode(reality["private_key"] + "=")) == 32
    assert reality["short_ids"] == (CHANCE[32:].hex(),)
    for method, size in (("2022-blake3-aes-128-gcm", 16), ("2022-blake3-aes-256-gcm", 32)):
        options = msgspec.to_builtins(
            _filled("shadowsocks", options={"type": "shadowsocks", "method": method}).options
        )
        assert base64.b64decode(options["key"]) == CHANCE[:size]
    interface = {"type": "wireguard", "addresses": ["10.8.0.1/24"]}
    private = base64.b64decode(
        msgspec.to_builtins(_filled("wireguard", options=interface).options)["private_key"]
    )
    assert private[1:31] == CHANCE[1:31]
    assert (private[0] & 7, private[31] & 192) == (0, 64)


def test_keys_that_are_given_stay_as_they_are() -> None:
    for protocol, fields in GOOD:
        asked = new(protocol, **fields)
        assert endpoints.filled(asked, CHANCE) == asked


def _after(endpoint: Endpoint, **fields: Any) -> Endpoint:  # noqa: ANN401 - as EndpointChanges has them
    changes = msgspec.convert(fields, EndpointChanges)
    after = endpoints.changed(endpoint, changes, CHANCE)
    assert endpoints.wrong_changes(after, changes) == {}
    return after


def test_a_part_that_is_changed_keeps_the_keys_it_leaves_out() -> None:
    bare = {"type": "reality", "target": "b.org:443", "server_names": ["b.org"]}
    after = _after(made(security=REALITY), security=bare)
    assert after == made(security=REALITY | bare)
    assert _after(made("wireguard", options=INTERFACE), options={**INTERFACE, "private_key": ""}) == made(
        "wireguard", options=INTERFACE
    )
    assert _after(made("shadowsocks", options=NEW), options={**NEW, "key": ""}) == made(
        "shadowsocks", options=NEW
    )
    assert _after(made(options=SECRET), options={"type": "vless"}) == made(options=SECRET)
    assert _after(made(options=SECRET), options=None) == made()
    assert _after(made(security=TLS), security={"type": "tls", "alpn": ["h2"]}) == made(
        security=TLS | {"alpn": ["h2"]}
    )
    texts = {"type": "tls", "certificate": "c", "key": "k"}
    without = {"type": "tls", "certificate": "c", "server_name": "a.org"}
    assert _after(made(security=texts), security=without) == made(security=texts | without)
    other = msgspec.convert({"security": without | {"certificate": "d"}}, EndpointChanges)
    refused = endpoints.wrong_changes(endpoints.changed(made(security=texts), other, CHANCE), other)
    assert list(refused) == ["security.certificate"]


def test_another_kind_of_part_gets_a_key_of_its_own() -> None:
    fields = {"type": "shadowsocks", "method": "2022-blake3-aes-128-gcm"}
    after = _after(made("shadowsocks", options=NEW), options=fields)
    assert msgspec.to_builtins(after.options)["key"] == base64.b64encode(CHANCE[:16]).decode()


def test_fields_that_are_not_named_stay() -> None:
    endpoint = made(host="a.org", transport=WEB, security=TLS, extra={"sniffing": {"enabled": True}})
    assert _after(endpoint) == endpoint
    assert _after(endpoint, name="b", host=None, extra=None) == made(name="b", transport=WEB, security=TLS)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        (made(), made("vmess"), True),
        (made(), made("hysteria", security=TLS), False),
        (made(), made(transport=KCP), False),
        (made(), made("wireguard", options=INTERFACE), False),
        (made("hysteria", security=TLS), made(transport=KCP), True),
        (made("hysteria", security=TLS), made(transport=XHTTP, security=TLS | {"alpn": ["h3"]}), True),
        (made("shadowsocks", options=OLD), made(), True),
        (made("shadowsocks", options=OLD), made(transport=KCP), True),
        (made(), made(port=444), False),
    ],
)
def test_a_port_is_taken_on_the_network_where_it_is_listened_on(
    one: Endpoint, other: Endpoint, *, clash: bool
) -> None:
    second = msgspec.convert({**_fields(other), "id": 2}, Endpoint)
    assert (endpoints.clashing(one, [second]) is not None) == clash
    assert (endpoints.clashing(second, [one]) is not None) == clash
    assert endpoints.clashing(one, [one]) is None


def test_wireguard_networks_of_a_node_share_no_address() -> None:
    one = made("wireguard", options=INTERFACE)
    other = made("xray-wireguard", 2, port=444, options=INTERFACE | {"addresses": ["10.8.0.200/16"]})
    apart = made("wireguard", 3, port=445, options=INTERFACE | {"addresses": ["10.9.0.1/24"]})
    assert endpoints.overlapping(one, [one, made(number=4), apart, other]) == other
    assert endpoints.overlapping(apart, [one, other]) is None


def test_nothing_secret_is_told_of_an_endpoint() -> None:
    for protocol, fields in GOOD:
        endpoint = endpoints.fresh(NodeId(1), new(protocol, **fields))
        told = repr(endpoints.facts(endpoint))
        assert not [one for one in (KEY, URL_KEY, "00ff", "salt", "fallbacks") if one in told]


def test_a_changed_secret_is_told_as_changed() -> None:
    before, after = made(security=REALITY), made(security=REALITY | {"short_ids": ["abcd"]}, extra={"a": 1})
    assert endpoints.facts(before) == endpoints.facts(after)
    differing = events.changes(endpoints.unsaid(before), endpoints.unsaid(after))
    assert set(differing) == {"security.short_ids", "extra"}
