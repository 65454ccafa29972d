"""Raw JSON for the core: what no typed part of an endpoint can say (row R5).

It is merged into the inbound that the node makes of the endpoint. What always holds: it cannot take over what
we meter, cut and address by, nor say what a typed part says, nor have secrets or addresses of clients
written down. The names are those of infra/conf of Xray-core v26, which reads them in any case: so they are
compared without it.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

Extra = dict[str, Any]
Path = tuple[str, ...]

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
#: What stands in answers in place of a secret; sent back, it means the one that is there.
HIDDEN = "(hidden)"
_HIGHEST = 2**63 - 1

_OURS = "leave it out: it is the collector's to say"
_TYPED = "leave it out: it is a field of the endpoint's own parts"
_WRITTEN = "leave it out: it has secrets or clients' addresses written down on the node"
_SETTINGS = (
    *("clients", "users", "peers", "accounts", "email", "level", "default", "version", "network"),
    *("decryption", "flow", "method", "password", "secretKey", "address", "mtu", "noKernelTun"),
)
_REALITY = ("target", "dest", "type", "serverNames", "privateKey", "shortIds")
_REFUSED: Mapping[Path, str] = {
    **{(name,): _OURS for name in ("tag", "listen", "port", "protocol")},
    **{("settings", name): _OURS for name in _SETTINGS},
    **{("streamSettings", name): _TYPED for name in ("network", "method", "security")},
    ("streamSettings", "tlsSettings", "certificates"): _TYPED,
    ("streamSettings", "tlsSettings", "serverName"): _TYPED,
    ("streamSettings", "tlsSettings", "alpn"): _TYPED,
    **{("streamSettings", "realitySettings", name): _TYPED for name in _REALITY},
    **{
        ("streamSettings", of, name): _TYPED
        for of in ("wsSettings", "httpupgradeSettings", "xhttpSettings", "splithttpSettings")
        for name in ("path", "host", "mode")
    },
    ("streamSettings", "grpcSettings", "serviceName"): _TYPED,
    ("streamSettings", "kcpSettings", "mtu"): _TYPED,
    ("streamSettings", "kcpSettings", "seed"): "use the transport's seed: Xray reads this one for nothing",
    ("streamSettings", "kcpSettings", "header"): "use finalmask: Xray reads this one for nothing",
    # Whoever knows it is served without being a user while nobody is on the endpoint.
    ("streamSettings", "hysteriaSettings", "auth"): _OURS,
    ("streamSettings", "hysteriaSettings", "version"): _OURS,
    ("streamSettings", "tlsSettings", "masterKeyLog"): _WRITTEN,
    ("streamSettings", "realitySettings", "masterKeyLog"): _WRITTEN,
    ("streamSettings", "realitySettings", "show"): _WRITTEN,
}
_FOLDED = {tuple(name.casefold() for name in path): sentence for path, sentence in _REFUSED.items()}
#: Objects that are merged with what the node makes; spelled otherwise, they would replace it.
_MERGED = {
    tuple(name.casefold() for name in path[:end]): path[end - 1]
    for path in _REFUSED
    for end in range(1, len(path))
}
_SECRETS = {"echserverkeys", "mldsa65seed", "privatekey", "secretkey", "key"}


def wrong(extra: Extra | None) -> dict[str, str]:
    """What is wrong in the raw JSON, by field."""
    if not extra:
        return {}
    found: dict[str, str] = {}
    for path, value in _walk(extra):
        if problem := _wrong_at(path, value):
            found[".".join(("extra", *path))] = problem
    if found:
        return found
    size = len(msgspec.json.encode(extra))
    return {"extra": f"use up to {MAX_BYTES} bytes, not {size}"} if size > MAX_BYTES else {}


def shown(extra: Extra | None) -> Extra | None:
    """The raw JSON with its secrets hidden."""
    return None if extra is None else _shown(extra)


def kept(before: Extra | None, after: Extra | None) -> Extra | None:
    """The new raw JSON, with the secrets of the old one where it has them hidden."""
    return None if after is None else _kept(before, after, MAX_DEPTH)


def _walk(extra: Extra) -> Iterator[tuple[Path, object]]:
    """Every value below the top with the names on the way to it, places in lists included."""
    waiting: list[tuple[Path, object]] = [((), extra)]
    while waiting:
        path, value = waiting.pop()
        if path:
            yield path, value
        if len(path) > MAX_DEPTH:
            continue
        if isinstance(value, dict):
            waiting += [((*path, name), one) for name, one in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, str(place)), one) for place, one in enumerate(value)]


def _wrong_at(path: Path, value: object) -> str | None:
    folded = tuple(name.casefold() for name in path)
    if len(path) > MAX_DEPTH:
        return f"use up to {MAX_DEPTH} levels"
    if folded in _FOLDED:
        return _FOLDED[folded]
    if folded in _MERGED and not (path[-1] == _MERGED[folded] and isinstance(value, dict)):
        return f"write it as {_MERGED[folded]}, with an object as its value"
    return _wrong_value(value)


def _wrong_value(value: object) -> str | None:
    if value == HIDDEN:
        return "give the value: nothing is kept here that it could stand for"
    if isinstance(value, float) and not math.isfinite(value):
        return "use a finite number"
    if isinstance(value, int) and abs(value) > _HIGHEST:
        return f"use a number up to {_HIGHEST}"
    return None


def _shown(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {name: HIDDEN if _is_secret(name, one) else _shown(one) for name, one in value.items()}
    return [_shown(one) for one in value] if isinstance(value, list) else value


def _kept(before: Any, after: Any, levels: int) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(after, dict) and levels:
        old = before if isinstance(before, dict) else {}
        return {name: _kept_at(name, old.get(name), one, levels - 1) for name, one in after.items()}
    if isinstance(after, list) and levels:
        rest = before if isinstance(before, list) and len(before) == len(after) else [None] * len(after)
        return [_kept(old, one, levels - 1) for old, one in zip(rest, after, strict=True)]
    return after


def _kept_at(name: str, before: object, after: object, levels: int) -> object:
    if after == HIDDEN and before is not None and _is_secret(name, before):
        return before
    return _kept(before, after, levels)


def _is_secret(name: str, value: object) -> bool:
    return name.casefold() in _SECRETS and value not in (None, "", [], {})
