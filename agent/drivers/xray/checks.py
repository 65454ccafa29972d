"""What is wrong with endpoints, a sentence each: pure. Xray's Python package would end without a word.

What always holds: no sentence holds a key, a password or a certificate. What Xray accepts and then serves
nobody with (vision on a WebSocket) is refused as well.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping

from agent.drivers.xray import inbounds, streams
from shared import endpoints
from shared.messages import Endpoint
from shared.names import EndpointId

_MAX_PORT = 65_535
_KEY_BYTES = 32
_SHORT_ID = re.compile(r"(?:[0-9a-f]{2}){0,8}", re.ASCII | re.IGNORECASE)
_DECRYPTION = re.compile(
    r"none|mlkem768x25519plus\.(?:native|xorpub|random)\.\d+(?:-\d+)?s?(?:\.[\w-]+)+", re.ASCII
)
_MTU = range(100, 65_508)

Check = Callable[[Endpoint], Iterator[str]]


def problems(wanted: Mapping[EndpointId, Endpoint]) -> list[str]:
    """What is wrong with these endpoints, alone and together."""
    found = [sentence for _, endpoint in sorted(wanted.items()) for sentence in alone(endpoint)]
    return found or clashes(wanted)


def alone(endpoint: Endpoint) -> list[str]:
    """What is wrong with this one by itself."""
    return [f"endpoint {endpoint.endpoint}: {sentence}" for sentence in _problems(endpoint)]


def clashes(wanted: Mapping[EndpointId, Endpoint]) -> list[str]:
    """Which of these, each good by itself, want a port that another of them has."""
    found: list[str] = []
    ports: dict[tuple[str, int], EndpointId] = {}
    for key, endpoint in sorted(wanted.items()):
        others = {ports.setdefault((network, endpoint.port), key) for network in sorted(networks(endpoint))}
        found += [
            f"endpoint {key}: the port {endpoint.port} is already that of endpoint {other}"
            for other in others - {key}
        ]
    return found


def networks(endpoint: Endpoint) -> frozenset[str]:
    """On what an endpoint listens: "tcp", "udp" or both."""
    return streams.networks(inbounds.build(endpoint, {}, bytes(_KEY_BYTES)))


def _problems(endpoint: Endpoint) -> Iterator[str]:
    if not 1 <= endpoint.port <= _MAX_PORT:
        yield f"the port {endpoint.port} is not between 1 and {_MAX_PORT}"
    check = _PROTOCOLS.get(endpoint.protocol)
    if check is None:
        yield f"the protocol {endpoint.protocol!r} is not served here"
        return
    yield from check(endpoint)
    yield from _transport(endpoint.transport)
    yield from _security(endpoint)
    yield from (f"extra must not have {name!r}" for name in inbounds.forbidden(endpoint.extra or {}))


def _vless(endpoint: Endpoint) -> Iterator[str]:
    options = endpoint.options
    if not isinstance(options, endpoints.Vless):
        yield from _none(options)
        return
    if not _DECRYPTION.fullmatch(options.decryption):
        yield "its decryption is neither 'none' nor what `xray vlessenc` prints for the server"
    if options.flow and options.decryption == "none":
        if not isinstance(endpoint.transport, endpoints.Tcp):
            yield f"the flow {options.flow} needs the transport tcp or VLESS encryption"
        if isinstance(endpoint.security, endpoints.Plain):
            yield f"the flow {options.flow} needs TLS, REALITY or VLESS encryption"


def _plain(endpoint: Endpoint) -> Iterator[str]:
    yield from _none(endpoint.options)


def _none(options: endpoints.Options | None) -> Iterator[str]:
    if options is not None:
        yield "its options are those of another protocol"


def _shadowsocks(endpoint: Endpoint) -> Iterator[str]:
    options = endpoint.options
    if not isinstance(options, endpoints.Shadowsocks):
        yield "a Shadowsocks endpoint needs its method in options"
    elif options.method.startswith("2022-"):
        size = 16 if "128" in options.method else 32
        if _decoded(options.key) != size:
            yield f"the key of {options.method} must be {size} bytes in base64"


def _hysteria(endpoint: Endpoint) -> Iterator[str]:
    yield from _none(endpoint.options)
    if not isinstance(endpoint.security, endpoints.Tls):
        yield "Hysteria needs TLS"
    yield from _itself("Hysteria", endpoint)


def _wireguard(endpoint: Endpoint) -> Iterator[str]:
    options = endpoint.options
    if not isinstance(options, endpoints.WireGuard):
        yield "a WireGuard endpoint needs its private key in options"
        return
    if _decoded(options.private_key) != _KEY_BYTES:
        yield "the private key must be 32 bytes in base64"
    for text in options.addresses:
        try:
            ipaddress.ip_interface(text)
        except ValueError:
            yield f"{text!r} is not an address"
    if not isinstance(endpoint.security, endpoints.Plain):
        yield "WireGuard has its own encryption and takes no other"
    yield from _itself("WireGuard", endpoint)


def _itself(name: str, endpoint: Endpoint) -> Iterator[str]:
    if not isinstance(endpoint.transport, endpoints.Tcp):
        yield f"{name} is a transport of its own and takes no other"


def _transport(chosen: endpoints.Transport) -> Iterator[str]:
    match chosen:
        case endpoints.WebSocket(path=path) | endpoints.HttpUpgrade(path=path) | endpoints.Xhttp(path=path):
            if not path.startswith("/"):
                yield f"the path {path!r} does not begin with a slash"
        case endpoints.Grpc(service=service):
            if not service:
                yield "the gRPC service needs a name"
        case endpoints.Mkcp(mtu=mtu):
            if mtu not in _MTU:
                yield f"the MTU {mtu} is not between {_MTU.start} and {_MTU.stop - 1}"


def _security(endpoint: Endpoint) -> Iterator[str]:
    match endpoint.security:
        case endpoints.Tls() as tls:
            yield from _tls(tls)
        case endpoints.Reality() as reality:
            if not isinstance(endpoint.transport, endpoints.Tcp | endpoints.Grpc | endpoints.Xhttp):
                yield "REALITY goes with the transports tcp, grpc and xhttp only"
            yield from _reality(reality)


def _tls(tls: endpoints.Tls) -> Iterator[str]:
    texts, files = (tls.certificate, tls.key), (tls.certificate_file, tls.key_file)
    if any(texts) == any(files) or not (all(texts) or all(files)):
        yield "TLS needs a certificate and its key, either as texts or as files"
    if not all(name.startswith("/") for name in files if name):
        yield "the files of certificate and key must be absolute paths"


def _reality(reality: endpoints.Reality) -> Iterator[str]:
    host, _, port = reality.target.rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= _MAX_PORT:
        yield f"the target {reality.target!r} of REALITY is not a host and a port"
    if not reality.server_names or not all(reality.server_names):
        yield "REALITY needs the names that its target has a certificate for"
    padded = reality.private_key + "=" * (-len(reality.private_key) % 4)
    if _decoded(padded.replace("-", "+").replace("_", "/")) != _KEY_BYTES:
        yield "the private key of REALITY is not what `xray x25519` prints"
    if not reality.short_ids:
        yield "REALITY needs a short id; the empty one will do"
    for text in reality.short_ids:
        if not _SHORT_ID.fullmatch(text):
            yield f"the short id {text!r} is not up to 16 hexadecimal digits, an even number of them"


def _decoded(text: str) -> int:
    """How many bytes this base64 has; 0 when it is none."""
    try:
        return len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return 0


_PROTOCOLS: Mapping[str, Check] = {
    "vless": _vless,
    "vmess": _plain,
    "trojan": _plain,
    "shadowsocks": _shadowsocks,
    "hysteria": _hysteria,
    "xray-wireguard": _wireguard,
}
