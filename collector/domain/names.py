"""Rules for what people type: names of users, nodes, endpoints and hosts, byte limits (rows R4, H1)."""

import ipaddress
import re

from shared.names import MAX_BYTES

#: One line of printable text without the characters that shells and configuration files treat as their own
#: (wg-easy CVE-2026-72603: a newline in a client's name ran as root).
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}")
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*(?!\d+$){_LABEL}")
_MAX_DOMAIN = 253


def wrong_name(name: str) -> str | None:
    """What is wrong with a name, or None."""
    if _NAME.fullmatch(name):
        return None
    return "use 1 to 64 letters, digits, spaces or . _ @ - and begin with a letter or digit"


def wrong_limit(limit_bytes: int | None) -> str | None:
    """What is wrong with a limit in bytes, or None; no limit is fine."""
    if limit_bytes is None or 0 <= limit_bytes <= MAX_BYTES:
        return None
    return f"use whole bytes from 0 to {MAX_BYTES}, or null for no limit"


def collect(**problems: str | None) -> dict[str, str]:
    """The fields that have a problem."""
    return {field: problem for field, problem in problems.items() if problem is not None}


def wrong_host(host: str) -> str | None:
    """What is wrong with a name or an address that clients connect to, or None."""
    if is_domain(host) or is_address(host):
        return None
    return "use a domain name in ASCII, as in vpn.example.org, or an IP address without brackets"


def is_domain(text: str) -> bool:
    """Whether this can be a domain name (RFC 1123 section 2.1); one that is all digits and dots cannot."""
    return len(text) <= _MAX_DOMAIN and bool(_DOMAIN.fullmatch(text))


def is_address(text: str) -> bool:
    """Whether this is an IPv4 or IPv6 address, without a zone."""
    try:
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False
