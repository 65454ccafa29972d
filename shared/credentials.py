"""What each protocol has in place of a user's UUID (row H1).

What always holds: a user has one secret, his UUID; every credential follows from it, so node, collector and
links never disagree, and a new UUID changes them all.
"""

import base64
import hashlib
import uuid

from shared import endpoints

_SHADOWSOCKS = b"tidegate shadowsocks 2022 "


def password(identity: str) -> str:
    """The password of Trojan, of Shadowsocks before 2022 and of Hysteria."""
    return str(uuid.UUID(identity))


def shadowsocks(identity: str, method: str) -> str:
    """The password of Shadowsocks under this method; those of 2022 want a key of its length in base64."""
    size = endpoints.SHADOWSOCKS_KEY_BYTES.get(method)
    if size is None:
        return password(identity)
    return base64.b64encode(hashlib.sha256(_SHADOWSOCKS + uuid.UUID(identity).bytes).digest()[:size]).decode()
