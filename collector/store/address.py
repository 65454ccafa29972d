"""The URL of a PostgreSQL database, taken apart.

What always holds: it carries a password, so neither an error nor a representation shows any of its text.
"""

import urllib.parse
from dataclasses import dataclass, field

_SCHEMES = ("postgresql", "postgres")
#: What may follow the question mark: how to reach and to trust the server, not how it is to work.
_OPTIONS = (
    "host",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
    "passfile",
    "channel_binding",
)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a database is and as whom to open it; what is None or missing is libpq's default."""

    name: str
    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"{self.name} at {self.host or 'the local socket'}{f':{self.port}' if self.port else ''}"


def parsed(text: str) -> Address:
    """The parts of `postgresql://USER:PASSWORD@HOST:PORT/NAME`. Raises ValueError without showing them."""
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
        given = urllib.parse.parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(_form("it cannot be taken apart")) from None
    name = urllib.parse.unquote(parts.path.removeprefix("/"))
    if wrong := _wrong(text, parts, name, dict(given)):
        raise ValueError(_form(wrong))
    options = dict(given)
    return Address(
        name=name,
        host=options.pop("host", None) or parts.hostname,
        port=port,
        user=_unquoted(parts.username),
        password=_unquoted(parts.password),
        options=tuple(options.items()),
    )


def _wrong(text: str, parts: urllib.parse.SplitResult, name: str, options: dict[str, str]) -> str | None:
    if parts.scheme not in _SCHEMES:
        return "its scheme is another"
    if not name:
        return "the name of the database is missing"
    if unknown := sorted(set(options) - set(_OPTIONS)):
        # An unescaped # or ? in a password ends up here: not even the names are shown.
        return f"{len(unknown)} of its options are not among {', '.join(_OPTIONS)}"
    if parts.fragment or "/" in name or "\0" in urllib.parse.unquote(text):
        return "one of # / NUL is where it cannot be; in a password write # as %23 and / as %2F"
    return None


def _form(wrong: str) -> str:
    return f"must be postgresql://USER:PASSWORD@HOST:PORT/NAME, special characters as %-escapes; {wrong}"


def _unquoted(text: str | None) -> str | None:
    return None if text is None else urllib.parse.unquote(text)
