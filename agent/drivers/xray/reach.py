"""What of an endpoint a core of another kind than Xray cannot have: pure.

What always holds: an endpoint that is beyond a core is refused in words before anything is started or ended
for it; what raw parts of an endpoint ask for, the core's own start says.
"""

from collections.abc import Iterable

from agent.drivers.xray import dialects
from shared import endpoints
from shared.messages import Endpoint
from shared.names import EndpointId

_PROTOCOLS = ("vless", "vmess", "trojan")
_TRANSPORTS = (endpoints.Tcp, endpoints.WebSocket)


def beyond(wanted: Iterable[Endpoint], dialect: dialects.Dialect) -> dict[EndpointId, str]:
    """The endpoints that this core cannot serve, each with the reason."""
    if dialect.telling:
        return {}
    found = {endpoint.endpoint: _v2ray(endpoint) for endpoint in wanted}
    return {key: f"endpoint {key}: {reason}, or run Xray" for key, reason in found.items() if reason}


def _v2ray(endpoint: Endpoint) -> str | None:
    """What V2Ray 4.34 does not know, and what else to do."""
    if endpoint.protocol not in _PROTOCOLS:
        return f"V2Ray cannot serve {endpoint.protocol} to several users: choose VLESS, VMess or Trojan"
    if isinstance(endpoint.transport, endpoints.Mkcp):
        return "the mKCP of V2Ray is not what clients of today speak: choose tcp or websocket"
    if not isinstance(endpoint.transport, _TRANSPORTS):
        kind = type(endpoint.transport).__struct_config__.tag
        return f"V2Ray does not know the transport {kind}: choose tcp or websocket"
    if isinstance(endpoint.security, endpoints.Reality):
        return "V2Ray does not know REALITY: choose TLS"
    options = endpoint.options
    if isinstance(options, endpoints.Vless) and (options.flow or options.decryption != "none"):
        return "V2Ray knows neither the flows of VLESS nor its encryption: leave them out"
    return None
