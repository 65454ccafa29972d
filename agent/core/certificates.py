"""How long the certificates of an endpoint are good for, read from their PEM text: pure.

What always holds: of a chain the certificate that ends first counts, and the one that begins last; what
cannot be read is an error in words without a byte of it. Only the dates are read: X.509 is a SEQUENCE of a
SEQUENCE whose fifth part, after an optional version, is `Validity` (RFC 5280, 4.1; X.690 for the encoding).
"""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

#: How long before its end a certificate is warned of.
SOON_MS = 14 * 86_400_000

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s(.*?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_LONG = 0x80
_PIVOT = 50


class UnreadableError(ValueError):
    """The text has no certificate in it, or one that cannot be understood."""


@dataclass(frozen=True, kw_only=True)
class Validity:
    """From when until when, in milliseconds since the epoch."""

    since_ms: int
    until_ms: int


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a certificate, in words."""

    kind: Literal["expired", "soon", "early", "unreadable"]
    sentence: str


class _Element(NamedTuple):
    tag: int
    content: bytes
    rest: bytes


def validity(pem: str) -> Validity:
    """When all certificates of this text are good at once. Raises UnreadableError."""
    found = [_validity(_der(text)) for text in _PEM.findall(pem)]
    if not found:
        raise UnreadableError("there is no certificate in it")
    return Validity(since_ms=max(one.since_ms for one in found), until_ms=min(one.until_ms for one in found))


def judge(of: Validity, now_ms: int) -> Verdict | None:
    """What is wrong with it now; None when it is good for two weeks more."""
    if now_ms >= of.until_ms:
        return Verdict("expired", f"its certificate has expired on {_date(of.until_ms)}: renew it")
    if now_ms < of.since_ms:
        return Verdict(
            "early",
            f"its certificate is not valid before {_date(of.since_ms)}: look at the clock of the node",
        )
    if of.until_ms - now_ms <= SOON_MS:
        return Verdict("soon", f"its certificate expires on {_date(of.until_ms)}: renew it")
    return None


def _der(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableError("its certificate is not base64") from None


def _validity(der: bytes) -> Validity:
    signed = _expect(_SEQUENCE, _element(_expect(_SEQUENCE, _element(der))))
    part = _element(signed)
    if part.tag == _VERSION:
        part = _element(part.rest)
    # The serial number was taken; after it come the algorithm, the issuer, and the dates.
    for _ in range(3):
        part = _element(part.rest)
    since = _element(_expect(_SEQUENCE, part))
    return Validity(since_ms=_time_ms(since), until_ms=_time_ms(_element(since.rest)))


def _element(data: bytes) -> _Element:
    """The first element: a tag of one byte, a length, and as many bytes."""
    if len(data) < 2:  # noqa: PLR2004 - a tag and a length
        raise UnreadableError("its certificate ends too early")
    tag, size, begin = data[0], data[1], 2
    if size & _LONG:
        begin += size & ~_LONG
        size = int.from_bytes(data[2:begin], "big")
    if len(data) < begin + size:
        raise UnreadableError("its certificate ends too early")
    return _Element(tag, data[begin : begin + size], data[begin + size :])


def _expect(tag: int, element: _Element) -> bytes:
    if element.tag != tag:
        raise UnreadableError("its certificate is not one of X.509")
    return element.content


def _time_ms(element: _Element) -> int:
    """A date of UTCTime, whose years are of 1950 to 2049, or of GeneralizedTime (RFC 5280, 4.1.2.5)."""
    try:
        text = element.content.decode("ascii")
        if element.tag == _UTC_TIME:
            text = ("19" if int(text[:2]) >= _PIVOT else "20") + text
        elif element.tag != _GENERALIZED_TIME:
            raise ValueError  # noqa: TRY301 - one sentence for every date that is none
        parsed = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise UnreadableError("its certificate has a date that is none") from None
    return int(parsed.timestamp()) * 1000


def _date(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
