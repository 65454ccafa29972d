"""Users of WireGuard endpoints: what they are there, and their configurations as text and as QR codes.

What always holds: a configuration holds a user's secrets, so it goes only to who may see the user, and into
no cache.
"""

import asyncio
import io
from typing import Literal

import msgspec
import segno

from collector.app import wireguard
from collector.app.wireguard import Tunnel
from collector.domain import refusals, wgquick
from collector.domain.addressing import Version
from collector.domain.wireguard import Wish
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route
from shared.names import EndpointId, UserId

_PATH = "/api/v1/users/{id}/wireguard"
#: Pixels, or units of a drawing, to a module: a telephone reads it from a screen.
_SCALE = 4


class TunnelView(msgspec.Struct, frozen=True, kw_only=True):
    """A user on an endpoint, without what is secret.

    `own_key` tells that the user made his keys himself; an address is `fixed` that somebody asked for.
    """

    endpoint: EndpointId
    name: str
    public_key: str
    own_key: bool
    v4: str | None
    v6: str | None
    v4_fixed: bool
    v6_fixed: bool


class Tunnels(msgspec.Struct, frozen=True):
    """The WireGuard endpoints of a user."""

    tunnels: list[TunnelView]


async def of_user(parts: Parts, call: Call[None]) -> Tunnels:
    """What a user is on his WireGuard endpoints."""
    found = await parts.data.read(wireguard.of_user, UserId(call.id), call.actor)
    return Tunnels([_shown(one) for one in found])


async def change(parts: Parts, call: Call[Wish]) -> TunnelView:
    """Change a user's key or addresses."""
    user, endpoint, wish, terms = UserId(call.id), EndpointId(call.endpoint), call.body, parts.tunnels.terms
    now_ms = parts.now_ms()
    return _shown(await parts.change(wireguard.change, user, endpoint, wish, call.actor, now_ms, terms))


async def rotate(parts: Parts, call: Call[None]) -> TunnelView:
    """Make new keys."""
    user, endpoint, terms = UserId(call.id), EndpointId(call.endpoint), parts.tunnels.terms
    return _shown(await parts.change(wireguard.rotate, user, endpoint, call.actor, parts.now_ms(), terms))


async def config(parts: Parts, call: Call[None]) -> str:
    """The configuration as a file for wg-quick."""
    return wgquick.text(await _tunnel(parts, call))


async def svg(parts: Parts, call: Call[None]) -> bytes:
    """The configuration as a drawing."""
    return await _drawn(parts, call, "svg")


async def png(parts: Parts, call: Call[None]) -> bytes:
    """The configuration as a picture."""
    return await _drawn(parts, call, "png")


async def _tunnel(parts: Parts, call: Call[None]) -> wgquick.Tunnel:
    user, endpoint = UserId(call.id), EndpointId(call.endpoint)
    return await parts.data.read(wireguard.config, user, endpoint, parts.tunnels.dns, call.actor)


async def _drawn(parts: Parts, call: Call[None], kind: Literal["svg", "png"]) -> bytes:
    tunnel = await _tunnel(parts, call)
    if tunnel.keys.private is None:
        raise refusals.conflict(
            "the user made his keys himself, so a QR code would lack the private one: get the configuration"
            " as text and put it in, or set public_key to null to have a pair made here"
        )
    # Takes 20 ms of a core: other requests are answered meanwhile.
    return await asyncio.to_thread(draw, wgquick.text(tunnel), kind)


def draw(text: str, kind: Literal["svg", "png"]) -> bytes:
    """A text as a QR code."""
    file = io.BytesIO()
    segno.make(text, error="m", micro=False).save(file, kind=kind, scale=_SCALE)
    return file.getvalue()


def _shown(tunnel: Tunnel) -> TunnelView:
    keys = tunnel.peer.keys
    v4, v6 = (tunnel.peer.addresses.get(version) for version in (Version.V4, Version.V6))
    return TunnelView(
        endpoint=tunnel.endpoint.id,
        name=tunnel.endpoint.name,
        public_key=keys.public,
        own_key=keys.private is None,
        v4=None if v4 is None else v4.text,
        v6=None if v6 is None else v6.text,
        v4_fixed=v4 is not None and v4.fixed,
        v6_fixed=v6 is not None and v6.fixed,
    )


ROUTES = (
    Route(
        method="GET",
        path=_PATH,
        handler=of_user,
        roles=routes.RESELLERS,
        summary="Show a user's addresses and public keys on his WireGuard endpoints.",
        answer=Tunnels,
    ),
    Route(
        method="PATCH",
        path=_PATH + "/{endpoint}",
        handler=change,
        roles=routes.RESELLERS,
        summary="Bring a user's own public key, or fix his addresses in the tunnel.",
        body=Wish,
        answer=TunnelView,
    ),
    Route(
        method="POST",
        path=_PATH + "/{endpoint}/rotate",
        handler=rotate,
        roles=routes.RESELLERS,
        summary="Make new keys; a user who made his pair himself keeps it and gets a new preshared key.",
        answer=TunnelView,
    ),
    Route(
        method="GET",
        path=_PATH + "/{endpoint}/config",
        handler=config,
        roles=routes.RESELLERS,
        summary="Get the configuration for wg-quick and WireGuard's apps; it holds the user's secrets.",
        answer=str,
        media=routes.PLAIN,
    ),
    Route(
        method="GET",
        path=_PATH + "/{endpoint}/qr.svg",
        handler=svg,
        roles=routes.RESELLERS,
        summary="Get the configuration as a QR code, drawn; it holds the user's secrets.",
        answer=str,
        media=routes.SVG,
    ),
    Route(
        method="GET",
        path=_PATH + "/{endpoint}/qr.png",
        handler=png,
        roles=routes.RESELLERS,
        summary="Get the configuration as a QR code, a picture; it holds the user's secrets.",
        answer=bytes,
        media=routes.PNG,
    ),
)
