"""Keys of endpoints: made where an operator gives none, kept where he changes something else (rows T1, R5).

What always holds: nothing here is random but what is handed in, and a part that is changed keeps its secrets
unless new ones are given.
"""

import base64

from msgspec import structs

from shared.endpoints import (
    SHADOWSOCKS_KEY_BYTES,
    Options,
    Reality,
    Security,
    Shadowsocks,
    Tls,
    Vless,
    WireGuard,
)

#: Random bytes that the keys of one endpoint are made of.
CHANCE_BYTES = 40
_KEY_BYTES = 32
_NONE = Vless().decryption


def filled_security(security: Security, chance: bytes) -> Security:
    """The security with the keys made that are not given."""
    if not isinstance(security, Reality):
        return security
    made = base64.urlsafe_b64encode(_clamped(chance)).decode().rstrip("=")
    return structs.replace(
        security,
        private_key=security.private_key or made,
        short_ids=security.short_ids or (chance[_KEY_BYTES:CHANCE_BYTES].hex(),),
    )


def filled_options(options: Options | None, chance: bytes) -> Options | None:
    """The options with the keys made that are not given."""
    if isinstance(options, WireGuard):
        made = base64.b64encode(_clamped(chance)).decode()
        return structs.replace(options, private_key=options.private_key or made)
    if isinstance(options, Shadowsocks) and options.method in SHADOWSOCKS_KEY_BYTES:
        made = base64.b64encode(chance[: SHADOWSOCKS_KEY_BYTES[options.method]]).decode()
        return structs.replace(options, key=options.key or made)
    return options


def kept_security(before: Security, after: Security) -> Security:
    """The new security with the secrets of the old one that it leaves out.

    Answers show a certificate without its key: with the same certificate the key stays, and with no pair at
    all the whole pair does.
    """
    if isinstance(before, Reality) and isinstance(after, Reality):
        return structs.replace(
            after,
            private_key=after.private_key or before.private_key,
            short_ids=after.short_ids or before.short_ids,
        )
    if isinstance(before, Tls) and isinstance(after, Tls):
        return _kept_pair(before, after)
    return after


def kept_options(before: Options | None, after: Options | None) -> Options | None:
    """The new options with the keys of the old ones that they leave out."""
    if isinstance(before, WireGuard) and isinstance(after, WireGuard):
        return structs.replace(after, private_key=after.private_key or before.private_key)
    if isinstance(before, Shadowsocks) and isinstance(after, Shadowsocks) and before.method == after.method:
        return structs.replace(after, key=after.key or before.key)
    if isinstance(before, Vless) and isinstance(after, Vless) and after.decryption == _NONE:
        return structs.replace(after, decryption=before.decryption)
    return after


def _kept_pair(before: Tls, after: Tls) -> Tls:
    if not any((after.certificate, after.key, after.certificate_file, after.key_file)):
        return structs.replace(
            after,
            certificate=before.certificate,
            key=before.key,
            certificate_file=before.certificate_file,
            key_file=before.key_file,
        )
    if after.certificate and after.certificate == before.certificate:
        return structs.replace(after, key=after.key or before.key)
    return after


def _clamped(chance: bytes) -> bytes:
    """A private key of X25519 as RFC 7748 section 5 wants it."""
    first, last = chance[0] & 248, (chance[_KEY_BYTES - 1] & 127) | 64
    return bytes([first, *chance[1 : _KEY_BYTES - 1], last])
