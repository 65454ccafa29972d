"""How an address may be written down, to look for it in what must not hold it."""

import base64
import ipaddress
import re
from collections.abc import Mapping

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def of(text: str) -> Mapping[str, re.Pattern[bytes]]:
    """Patterns for an address by the name of the spelling: text, bytes, hexadecimal, number, base 64."""
    address = ipaddress.ip_address(text)
    patterns = _everyway(address)
    if isinstance(address, ipaddress.IPv4Address):
        mapped = ipaddress.IPv6Address(bytes(10) + b"\xff\xff" + address.packed)
        return patterns | {f"mapped {name}": found for name, found in _everyway(mapped).items()}
    prefix = address.packed[:8]
    groups = address.exploded.split(":")[:4]
    short = ":".join(f"{int(group, 16):x}" for group in groups)
    return patterns | {
        "prefix": _text(short + ":"),
        "expanded prefix": _text(":".join(groups)),
        "prefix bytes": re.compile(re.escape(prefix), re.DOTALL),
        "prefix hex": _text(prefix.hex()),
        "prefix number": _number(int.from_bytes(prefix)),
    }


def found(content: bytes, text: str) -> list[str]:
    """The spellings of an address that occur in this content."""
    return [name for name, pattern in of(text).items() if pattern.search(content)]


def _everyway(address: Address) -> dict[str, re.Pattern[bytes]]:
    packed = address.packed
    return {
        "text": _text(str(address)),
        "expanded": _text(address.exploded),
        "bytes": re.compile(re.escape(packed), re.DOTALL),
        "bytes backwards": re.compile(re.escape(packed[::-1]), re.DOTALL),
        "hex": _text(packed.hex()),
        "hex backwards": _text(packed[::-1].hex()),
        "hex by bytes": _text(packed.hex(":")),
        "number": _number(int(address)),
        "number backwards": _number(int.from_bytes(packed, "little")),
        "base 64": re.compile(re.escape(base64.b64encode(packed))),
        "reverse name": _text(address.reverse_pointer),
    }


def _text(text: str) -> re.Pattern[bytes]:
    # 10.0.0.1 is not in 110.0.0.15; a longer number is another one.
    return re.compile(rb"(?<![0-9a-fA-F])" + re.escape(text.encode()) + rb"(?![0-9])", re.IGNORECASE)


def _number(number: int) -> re.Pattern[bytes]:
    return re.compile(rb"(?<![0-9])" + str(number).encode() + rb"(?![0-9])")
