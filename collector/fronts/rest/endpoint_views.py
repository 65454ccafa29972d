"""Endpoints as admins see them: with what clients need, without what is the node's alone.

What always holds: no private key is in any answer, in its place is the public one.
"""

import msgspec

from collector import keys
from collector.domain import passage, transports
from collector.domain.endpoints import Endpoint
from collector.domain.passage import Extra
from shared.endpoints import (
    Options,
    Plain,
    Protocol,
    Reality,
    Security,
    Shadowsocks,
    Tls,
    Transport,
    Vless,
    WireGuard,
)
from shared.names import EndpointId, NodeId


class Shown(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of parts that are shown otherwise than they are kept."""


class TlsView(Shown, frozen=True, tag="tls"):
    """TLS without its key."""

    server_name: str
    certificate: str
    certificate_file: str
    key_file: str
    alpn: tuple[str, ...]


class RealityView(Shown, frozen=True, tag="reality"):
    """REALITY with the public key that clients need."""

    target: str
    server_names: tuple[str, ...]
    public_key: str
    short_ids: tuple[str, ...]


class VlessView(Shown, frozen=True, tag="vless"):
    """VLESS; `encryption` is the clients' half, null where this collector cannot work it out."""

    flow: str
    encryption: str | None


class WireGuardView(Shown, frozen=True, tag="wireguard"):
    """A WireGuard interface with the public key that peers need."""

    public_key: str
    addresses: tuple[str, ...]
    mtu: int
    masquerade: bool


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint; `transport` is null where the protocol has its own."""

    id: EndpointId
    node: NodeId
    name: str
    protocol: Protocol
    listen: str
    port: int
    factor_permille: int
    host: str | None
    transport: Transport | None
    security: Plain | TlsView | RealityView
    options: VlessView | Shadowsocks | WireGuardView | None
    extra: Extra | None


def shown(endpoint: Endpoint) -> EndpointView:
    """The endpoint as admins see it."""
    return EndpointView(
        id=endpoint.id,
        node=endpoint.node,
        name=endpoint.name,
        protocol=endpoint.protocol,
        listen=endpoint.listen,
        port=endpoint.port,
        factor_permille=endpoint.factor_permille,
        host=endpoint.host,
        transport=None if endpoint.protocol in transports.ALONE else endpoint.transport,
        security=_security(endpoint.security),
        options=_options(endpoint.options),
        extra=passage.shown(endpoint.extra),
    )


def _security(security: Security) -> Plain | TlsView | RealityView:
    match security:
        case Tls():
            return TlsView(
                server_name=security.server_name,
                certificate=security.certificate,
                certificate_file=security.certificate_file,
                key_file=security.key_file,
                alpn=security.alpn,
            )
        case Reality():
            return RealityView(
                target=security.target,
                server_names=security.server_names,
                public_key=keys.reality_public(security.private_key),
                short_ids=security.short_ids,
            )
        case Plain():
            return security


def _options(options: Options | None) -> VlessView | Shadowsocks | WireGuardView | None:
    match options:
        case Vless():
            return VlessView(flow=options.flow, encryption=keys.vless_encryption(options.decryption))
        case WireGuard():
            return WireGuardView(
                public_key=keys.wireguard_public(options.private_key),
                addresses=options.addresses,
                mtu=options.mtu,
                masquerade=options.masquerade,
            )
        case _:
            return options
