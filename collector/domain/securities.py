"""TLS and REALITY: which protocols and transports they go with, and what would be wrong in one (rows T1, R5).

What always holds: what is accepted here Xray starts with, given that certificate and key belong together,
which is looked at where there is something to look with. The rules are those of Xray-core v26.
"""

import re
from collections.abc import Mapping

from collector.domain import names, transports
from shared.endpoints import (
    Grpc,
    HttpUpgrade,
    Mkcp,
    Plain,
    Protocol,
    Reality,
    Security,
    Tcp,
    Tls,
    Transport,
    WebSocket,
    Xhttp,
)

_NEVER = ("shadowsocks", "xray-wireguard", "wireguard")
_WORDS = ("h3", "h2", "http/1.1")
_KEY = re.compile(r"[A-Za-z0-9_-]{43}")
_SHORT_ID = re.compile(r"(?:[0-9a-f]{2}){0,8}")
_MAX_SHORT_IDS = 64
_MAX_NAMES = 64
_TARGET = re.compile(r"(?:\[(?P<address>[^\]]*)\]|(?P<host>[^:]*)):(?P<port>[0-9]{1,5})")
_MAX_PORT = 65535
_FILE = re.compile(r"(?:/[^/\x00-\x20\x7f]+)+")
_MAX_FILE = 1024
_PEM = re.compile(r"[\x20-\x7e\r\n]+")
_MAX_PEM = 64 * 1024
_ONE_PAIR = "give certificate and key as PEM texts, or certificate_file and key_file; one pair of the two"


def wrong(protocol: Protocol, transport: Transport, security: Security) -> dict[str, str]:
    """What is wrong with the security of an endpoint, by field."""
    if problem := _misplaced(protocol, transport, security):
        return {"security": problem}
    inside = _inside(transport if protocol not in transports.ALONE else None, security)
    return {f"security.{name}": problem for name, problem in inside.items()}


def _misplaced(protocol: Protocol, transport: Transport, security: Security) -> str | None:
    if protocol in _NEVER and not isinstance(security, Plain):
        return f"leave it out: {protocol} encrypts by itself and takes none"
    if protocol == "hysteria" and not isinstance(security, Tls):
        return "use tls with a certificate: hysteria is QUIC and takes nothing else"
    if isinstance(security, Reality) and not isinstance(transport, Tcp | Grpc | Xhttp):
        return "use tls or none here: REALITY goes with tcp, grpc and xhttp only"
    in_front = isinstance(transport, transports.BEHIND_WEB_SERVERS)
    if protocol == "trojan" and isinstance(security, Plain) and not in_front:
        return "use tls or reality: trojan encrypts nothing and would show passwords to everybody on the way"
    return None


def _inside(transport: Transport | None, security: Security) -> Mapping[str, str]:
    match security:
        case Tls():
            return {**_wrong_tls(security), **names.collect(alpn=_wrong_alpn(transport, security.alpn))}
        case Reality():
            return _wrong_reality(security)
        case Plain():
            return {}


def _wrong_tls(tls: Tls) -> dict[str, str]:
    files, texts = (tls.certificate_file, tls.key_file), (tls.certificate, tls.key)
    if not (all(files) and not any(texts)) and not (all(texts) and not any(files)):
        return {"certificate": _ONE_PAIR}
    return names.collect(
        server_name=None if not tls.server_name else _wrong_domain(tls.server_name),
        certificate=_wrong_pem(tls.certificate) or _wrong_place(tls.certificate),
        key=_wrong_pem(tls.key),
        certificate_file=_wrong_file(tls.certificate_file),
        key_file=_wrong_file(tls.key_file),
    )


def _wrong_alpn(transport: Transport | None, alpn: tuple[str, ...]) -> str | None:
    """`transport` is None where a protocol has its own, on QUIC."""
    if not alpn:
        return None
    if len(set(alpn)) < len(alpn) or not set(alpn) <= set(_WORDS):
        return f"use these words, each once: {', '.join(_WORDS)}; or leave it out"
    quic = "h3" in alpn
    problems = {
        "use h3 alone, or leave it out: hysteria speaks nothing else": transport is None and alpn != ("h3",),
        "leave h3 out: only xhttp is served on it": quic and not isinstance(transport, Xhttp | None),
        "use h3 alone: xhttp is on UDP then, and h2 and http/1.1 are on TCP": quic and len(alpn) > 1,
        "add h2: gRPC speaks nothing else": isinstance(transport, Grpc) and "h2" not in alpn,
        "add http/1.1: upgrades are of it": isinstance(transport, WebSocket | HttpUpgrade)
        and "http/1.1" not in alpn,
        "leave it out: mkcp asks for none": isinstance(transport, Mkcp),
    }
    return next((problem for problem, is_so in problems.items() if is_so), None)


def _wrong_reality(reality: Reality) -> dict[str, str]:
    return names.collect(
        target=_wrong_target(reality.target),
        server_names=_wrong_names(reality.server_names),
        private_key=None
        if _KEY.fullmatch(reality.private_key)
        else "use 32 bytes in base64url without padding, as `xray x25519` prints them, or leave it out",
        short_ids=_wrong_short_ids(reality.short_ids),
    )


def _wrong_target(target: str) -> str | None:
    found = _TARGET.fullmatch(target)
    if found and 1 <= int(found["port"]) <= _MAX_PORT:
        host, address = found["host"], found["address"]
        if names.is_address(address) if host is None else names.is_domain(host) or names.is_address(host):
            return None
    return "use the host and port of a site with TLS 1.3, as in www.example.org:443"


def _wrong_names(server_names: tuple[str, ...]) -> str | None:
    """REALITY looks names up as they are: no wildcard would ever match."""
    if not 1 <= len(server_names) <= _MAX_NAMES or len(set(server_names)) < len(server_names):
        return f"give 1 to {_MAX_NAMES} names of the target's certificate, each once"
    return next((problem for name in server_names if (problem := _wrong_domain(name))), None)


def _wrong_short_ids(short_ids: tuple[str, ...]) -> str | None:
    if not 1 <= len(short_ids) <= _MAX_SHORT_IDS or len(set(short_ids)) < len(short_ids):
        return f"give 1 to {_MAX_SHORT_IDS} of them, each once, or leave it out to have one made"
    if all(_SHORT_ID.fullmatch(one) for one in short_ids):
        return None
    return "use up to 16 hexadecimal digits in lower case, an even number of them"


def _wrong_domain(name: str) -> str | None:
    return None if names.is_domain(name) else "use a domain name in ASCII, as in www.example.org"


def _wrong_pem(text: str) -> str | None:
    if not text or (len(text) <= _MAX_PEM and _PEM.fullmatch(text)):
        return None
    return f"use a PEM text of up to {_MAX_PEM} characters"


def _wrong_place(certificate: str) -> str | None:
    """Certificates are shown in answers."""
    return "give the key as `key` only, and certificates here" if "PRIVATE KEY" in certificate else None


def _wrong_file(path: str) -> str | None:
    if not path or (len(path) <= _MAX_FILE and _FILE.fullmatch(path) and ".." not in path.split("/")):
        return None
    return "use the absolute path of a file on the node, without spaces and .. in it"
