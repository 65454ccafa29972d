"""The combinations: what each endpoint is, and what a client has to know of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared import endpoints
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId
from tests.matrix import keys

#: Each client is a user of its own, with an account on every endpoint.
CLIENTS = {"sing-box": UserId(1), "mihomo": UserId(2), "xray": UserId(3)}
UUIDS = {
    UserId(1): "6f1f6a1c-7d55-4b0a-9d2c-0a4a8c5b1e01",
    UserId(2): "b7f3a5de-40d1-4a57-8b59-53a2d2f8aa02",
    UserId(3): "0d9c0c5e-9e11-4f2c-a0de-7c2b1f64cc03",
}
OBFUSCATION = "cucumber"

_TCP = endpoints.Tcp()
_WS = endpoints.WebSocket(path="/socket", host=keys.NAME)
_GRPC = endpoints.Grpc(service="tunnel")
_UPGRADE = endpoints.HttpUpgrade(path="/upgrade", host=keys.NAME)
_XHTTP = endpoints.Xhttp(path="/stream", host=keys.NAME)
_KCP, _KCP_SEED = endpoints.Mkcp(), endpoints.Mkcp(seed="pumpkin")
_PLAIN = endpoints.Plain()
_VISION = endpoints.Vless(flow="xtls-rprx-vision")


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One endpoint and the public halves of its keys, which its clients need."""

    endpoint: Endpoint
    fingerprint: str
    reality_key: str = ""
    encryption: str = "none"
    wireguard_key: str = ""
    peers: Mapping[UserId, keys.Pair] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        endpoint, special = self.endpoint, [""]
        match endpoint.options:
            case endpoints.Vless(flow=flow, decryption=decryption):
                special = ["vision"] if flow else []
                special += ["encryption"] if decryption != "none" else []
            case endpoints.Shadowsocks(method=method):
                special = [method]
        special += ["obfuscated"] if endpoint.extra else []
        special += ["seed"] if endpoint.transport == _KCP_SEED else []
        special += ["h3"] if getattr(endpoint.security, "alpn", ()) == ("h3",) else []
        tags = [_tag(endpoint.transport), _tag(endpoint.security), *special]
        return " ".join([endpoint.protocol, *filter(None, tags)])

    def account(self, user: UserId) -> Account:
        """The account of a user here."""
        peer = None
        if user in self.peers:
            public = self.peers[user].standard()[1]
            peer = endpoints.Peer(public_key=public, addresses=(tunnel_address(user),))
        return Account(user=user, endpoint=self.endpoint.endpoint, uuid=UUIDS[user], peer=peer)


class Ground:
    """What the endpoints stand on: an address, free ports, a certificate, a site that REALITY shows."""

    def __init__(self, address: str, ports: Sequence[int], certificate: keys.Certificate, site: str) -> None:
        self._address = address
        self._ports = iter(enumerate(ports, start=1))
        self._certificate = certificate
        self._reality = keys.pair().url()
        self._site = site

    def tls(self, *alpn: str) -> endpoints.Tls:
        """TLS with the certificate's files."""
        files = {"certificate_file": self._certificate.certificate, "key_file": self._certificate.key}
        return endpoints.Tls(server_name=keys.NAME, alpn=alpn, **{n: str(f) for n, f in files.items()})

    def tls_in_text(self) -> endpoints.Tls:
        """TLS with the certificate's text."""
        texts = self._certificate.certificate.read_text(), self._certificate.key.read_text()
        return endpoints.Tls(server_name=keys.NAME, certificate=texts[0], key=texts[1])

    def reality(self) -> endpoints.Reality:
        """REALITY that shows the site."""
        return endpoints.Reality(
            target=self._site,
            server_names=(keys.NAME,),
            private_key=self._reality[0],
            short_ids=("0123456789abcdef",),
        )

    def one(
        self,
        protocol: endpoints.Protocol,
        transport: endpoints.Transport = _TCP,
        security: endpoints.Security = _PLAIN,
        options: endpoints.Options | None = None,
        extra: Mapping[str, Any] | None = None,
        **known: object,
    ) -> Combination:
        """A combination on the next port."""
        number, port = next(self._ports)
        endpoint = Endpoint(
            endpoint=EndpointId(number),
            protocol=protocol,
            port=port,
            listen=self._address,
            transport=transport,
            security=security,
            options=options,
            extra=dict(extra) if extra else None,
        )
        known |= {"reality_key": self._reality[1], "fingerprint": self._certificate.fingerprint}
        return Combination(endpoint=endpoint, **known)  # type: ignore[arg-type]  # fields by their names


def tunnel_address(user: UserId) -> str:
    """A user's address in a WireGuard tunnel."""
    return f"10.99.0.{10 + user}"


def build(ground: Ground) -> list[Combination]:
    """All of them, numbered from 1, each on a port of its own."""
    ways = (_vless, _encrypted, _vmess, _trojan, _shadowsocks, _datagrams)
    return [one for way in ways for one in way(ground)]


def _vless(ground: Ground) -> Iterator[Combination]:
    for transport in (_TCP, _WS, _GRPC, _UPGRADE, _XHTTP, _KCP, _KCP_SEED):
        yield ground.one("vless", transport)
    yield ground.one("vless", _TCP, ground.tls_in_text())
    for transport in (_WS, _GRPC, _UPGRADE, _XHTTP):
        yield ground.one("vless", transport, ground.tls())
    yield ground.one("vless", _XHTTP, ground.tls("h3"))
    for transport in (_TCP, _GRPC, _XHTTP):
        yield ground.one("vless", transport, ground.reality())
    yield ground.one("vless", _TCP, ground.tls(), _VISION)
    yield ground.one("vless", _TCP, ground.reality(), _VISION)


def _encrypted(ground: Ground) -> Iterator[Combination]:
    private, public = keys.pair().url()
    decryption = f"mlkem768x25519plus.native.600s.{private}"
    encryption = f"mlkem768x25519plus.native.0rtt.{public}"
    plain = endpoints.Vless(decryption=decryption)
    yield ground.one("vless", _TCP, _PLAIN, plain, encryption=encryption)
    yield ground.one("vless", _XHTTP, _PLAIN, plain, encryption=encryption)
    vision = endpoints.Vless(flow="xtls-rprx-vision", decryption=decryption)
    yield ground.one("vless", _TCP, _PLAIN, vision, encryption=encryption)


def _vmess(ground: Ground) -> Iterator[Combination]:
    for bare in (_TCP, _WS, _KCP):
        yield ground.one("vmess", bare)
    for transport in (_TCP, _WS, _GRPC, _UPGRADE, _XHTTP):
        yield ground.one("vmess", transport, ground.tls())


def _trojan(ground: Ground) -> Iterator[Combination]:
    for transport in (_TCP, _WS, _GRPC, _UPGRADE, _XHTTP):
        yield ground.one("trojan", transport, ground.tls())
    yield ground.one("trojan", _TCP, ground.reality())
    yield ground.one("trojan", _WS)


def _shadowsocks(ground: Ground) -> Iterator[Combination]:
    made = (
        endpoints.Shadowsocks(method="aes-128-gcm"),
        endpoints.Shadowsocks(method="aes-256-gcm"),
        endpoints.Shadowsocks(method="chacha20-ietf-poly1305"),
        endpoints.Shadowsocks(method="2022-blake3-aes-128-gcm", key=keys.key(16)),
        endpoints.Shadowsocks(method="2022-blake3-aes-256-gcm", key=keys.key(32)),
    )
    for options in made:
        yield ground.one("shadowsocks", options=options)


def _datagrams(ground: Ground) -> Iterator[Combination]:
    yield ground.one("hysteria", _TCP, ground.tls("h3"))
    mask = {"type": "salamander", "settings": {"password": OBFUSCATION}}
    hidden = {"streamSettings": {"finalmask": {"udp": [mask]}}}
    yield ground.one("hysteria", _TCP, ground.tls("h3"), extra=hidden)
    private, public = keys.pair().standard()
    options = endpoints.WireGuard(private_key=private, addresses=("10.99.0.1/24",))
    peers = {user: keys.pair() for user in UUIDS}
    yield ground.one("xray-wireguard", options=options, wireguard_key=public, peers=peers)


def _tag(part: endpoints.Transport | endpoints.Security) -> str:
    tag = str(type(part).__struct_config__.tag)
    return "" if tag == "none" else tag
