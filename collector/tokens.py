"""Access tokens: short-lived JWTs after RFC 8725.

What always holds: one algorithm (HS256), one key, `typ` is at+jwt, issuer and audience are ours, and every
claim below is there; anything else is refused. A token tells who called and which credential he used;
whether that credential still stands is asked of the database by the caller of `read`.
"""

from dataclasses import dataclass

import jwt

from collector.domain import access, refusals

ISSUER = "tidegate-collector"
AUDIENCE = "tidegate-api"
#: RFC 9068 section 2.1: the explicit type keeps other JWTs from being taken for access tokens.
TYPE = "at+jwt"
ALGORITHM = "HS256"
LEEWAY_S = 30
NODE_LIFE_S = 15 * 60
ADMIN_LIFE_S = 60 * 60
KEY_BYTES = 32

_REQUIRED = ["iss", "aud", "sub", "iat", "exp", "cred"]
_MAX_TOKEN_CHARACTERS = 2048


@dataclass(frozen=True)
class Bearer:
    """Who a valid token was given to, and by which credential."""

    actor: access.Actor
    credential: int


def life_s(role: access.Role) -> int:
    """Seconds a token of this role lives."""
    return NODE_LIFE_S if role is access.Role.NODE else ADMIN_LIFE_S


def issue(key: bytes, bearer: Bearer, now_ms: int) -> str:
    """A signed token for the bearer."""
    now_s = now_ms // 1000
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(bearer.actor),
        "iat": now_s,
        "exp": now_s + life_s(bearer.actor.role),
        "cred": bearer.credential,
    }
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"typ": TYPE})


def read(key: bytes, token: str) -> Bearer:
    """The bearer of a token. Raises Refused when it is not one of ours or has expired."""
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise unusable()
    try:
        decoded = jwt.decode_complete(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            leeway=LEEWAY_S,
            options={"require": _REQUIRED},
        )
    except jwt.ExpiredSignatureError:
        raise expired() from None
    except jwt.InvalidTokenError:
        raise unusable() from None
    if decoded["header"].get("typ") != TYPE:
        raise unusable()
    return _bearer(decoded["payload"])


def _bearer(claims: dict[str, object]) -> Bearer:
    role, _, number = str(claims["sub"]).partition(":")
    credential = claims["cred"]
    try:
        actor = access.Actor(access.Role(role), int(number))
    except ValueError:
        raise unusable() from None
    if actor.role in {access.Role.NOBODY, access.Role.SYSTEM} or type(credential) is not int:
        raise unusable()
    return Bearer(actor, credential)


def unusable() -> refusals.Refused:
    """The refusal of what is no token of ours; it repeats nothing of what was sent."""
    return _refused("this is not a valid access token: ask for one at /api/v1/auth/token")


def expired() -> refusals.Refused:
    """The refusal of a token whose time is over."""
    return _refused("the access token has expired: ask for a new one at /api/v1/auth/token")


def _refused(detail: str) -> refusals.Refused:
    return refusals.Refused(refusals.Kind.UNAUTHENTICATED, detail)
