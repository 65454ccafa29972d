"""The language of wireguard-go's socket (wireguard.com/xplatform), without the socket: bytes in, bytes out.

What always holds: nothing is written that could be taken for more than a value; whatever is read, nothing
but `UapiError` is raised, and its text holds nothing of what was read. Keys are hexadecimal there.
"""

import base64
import binascii
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from agent.drivers.wireguard import checks
from agent.drivers.wireguard.peers import Change, Seen, State

#: Peers of one transaction: a block waits for 50 ms, not for seconds, while ten thousand are added.
PIECE = 500
GET = b"get=1\n\n"
#: Changes nothing and is answered once the device has no other work.
PING = b"set=1\n\n"

#: Two hundred thousand peers; a daemon that talks on for ever must not fill the memory.
_MAX_BYTES = 64 << 20
_ALLOWED = re.compile(r"[0-9a-f:.]{2,45}/[0-9]{1,3}", re.ASCII)
_ENDPOINT = re.compile(rb"[\[\]0-9A-Za-z:.%_-]{3,96}")
_NUMBER = re.compile(rb"-?[0-9]{1,19}")
_HEX_KEY = re.compile(rb"[0-9a-f]{64}")
_NO_KEY = b"0" * 64
_PEER = b"public_key="


class UapiError(Exception):
    """What was to be written or was read is not of this language."""


def configuration(private_key: str, port: int) -> bytes:
    """The transaction that gives a device its key and port."""
    return b"set=1\nprivate_key=%b\nlisten_port=%d\n\n" % (_hex(private_key), port)


def pieces(changes: Sequence[Change]) -> Iterator[bytes]:
    """The transactions that make these changes, each to be answered before the next is sent."""
    left = iter(changes)
    while piece := list(itertools.islice(left, PIECE)):
        yield b"".join([b"set=1\n", *map(_change, piece), b"\n"])


class Answer:
    """One answer, in the portions in which it arrives.

    `known` are the peers of an earlier answer by their text: what has not changed is not read again. After
    `feed` has said that it is complete, `errno` is 0 or what the device refused with.
    """

    def __init__(self, known: Mapping[bytes, Seen] | None = None) -> None:
        self.errno = 0
        self.state = State()
        self.known: dict[bytes, Seen] = {}
        self._before = known or {}
        self._rest = bytearray()
        self._head: bytes | None = None
        self._bytes = 0
        self._complete = False

    def feed(self, portion: bytes) -> bool:
        """Take a portion; True when the answer is complete. Raises UapiError."""
        self._bytes += len(portion)
        if self._complete or self._bytes > _MAX_BYTES:
            raise UapiError("the answer does not end where it should")
        self._rest += portion
        if self._rest.endswith(b"\n\n"):
            self._finish()
        else:
            # What follows the last beginning of a peer may still grow.
            self._take(self._rest.rfind(b"\n" + _PEER) + 1)
        return self._complete

    def _take(self, until: int) -> None:
        if until <= 0:
            return
        first, *blocks = bytes(self._rest[:until]).split(_PEER)
        del self._rest[:until]
        if self._head is None:
            self._head = first
        elif first:
            raise UapiError("the answer has something before a peer")
        for block in blocks:
            self.known[block] = self._before.get(block) or _seen(block)

    def _finish(self) -> None:
        found = re.search(rb"(?:\A|\n)errno=(-?[0-9]{1,9})\n\n\Z", self._rest)
        if not found:
            raise UapiError("the answer has no end")
        self._rest = self._rest[: found.start(1) - len(b"errno=")]
        self._take(len(self._rest))
        self.errno = int(found[1])
        self.state = _state(self._head or b"", self.known.values())
        self._complete = True


def _change(change: Change) -> bytes:
    lines = [_PEER + _hex(change.key)]
    if change.only_known or change.remove:
        lines.append(b"update_only=true")
    if change.remove:
        lines.append(b"remove=true")
    if change.preshared is not None:
        lines.append(b"preshared_key=" + (_hex(change.preshared) if change.preshared else _NO_KEY))
    if change.allowed is not None:
        lines.append(b"replace_allowed_ips=true")
        lines += [b"allowed_ip=" + _allowed(network) for network in change.allowed]
    return b"\n".join([*lines, b""])


def _allowed(network: str) -> bytes:
    if not _ALLOWED.fullmatch(network):
        raise UapiError("an address that is to be allowed is none")
    return network.encode("ascii")


def _hex(key: str) -> bytes:
    try:
        return base64.b64decode(checks.key(key)).hex().encode("ascii")
    except ValueError:
        raise UapiError("a key that is to be set is none") from None


def _state(head: bytes, peers: Iterable[Seen]) -> State:
    fields = dict(_fields(head))
    return State(
        private_key=_base64(fields[b"private_key"]) if b"private_key" in fields else "",
        port=_number(fields.get(b"listen_port", b"0")),
        peers={peer.key: peer for peer in peers},
    )


def _seen(block: bytes) -> Seen:
    key, _, text = block.partition(b"\n")
    fields: dict[bytes, bytes] = {}
    allowed: list[str] = []
    for name, value in _fields(text):
        if name == b"allowed_ip":
            allowed.append(_read_allowed(value))
        else:
            fields[name] = value
    preshared = fields.get(b"preshared_key", _NO_KEY)
    return Seen(
        key=_base64(key),
        preshared=None if preshared == _NO_KEY else _base64(preshared),
        allowed=tuple(allowed),
        endpoint=_read_endpoint(fields.get(b"endpoint", b"")),
        handshake_s=_number(fields.get(b"last_handshake_time_sec", b"0")),
        rx=_number(fields.get(b"rx_bytes", b"0")),
        tx=_number(fields.get(b"tx_bytes", b"0")),
    )


def _fields(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in text.split(b"\n"):
        if line:
            name, equals, value = line.partition(b"=")
            if not equals:
                raise UapiError("a line of the answer has no value")
            yield name, value


def _read_allowed(value: bytes) -> str:
    text = value.decode("ascii", "replace")
    if not _ALLOWED.fullmatch(text):
        raise UapiError("an allowed address of the answer is none")
    return text


def _read_endpoint(value: bytes) -> str:
    if value and not _ENDPOINT.fullmatch(value):
        raise UapiError("an endpoint of the answer is none")
    return value.decode("ascii")


def _number(value: bytes) -> int:
    if not _NUMBER.fullmatch(value):
        raise UapiError("a number of the answer is none")
    return max(0, int(value))


def _base64(value: bytes) -> str:
    if not _HEX_KEY.fullmatch(value):
        raise UapiError("a key of the answer is none")
    return base64.b64encode(binascii.unhexlify(value)).decode("ascii")
