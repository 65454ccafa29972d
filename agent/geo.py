"""Where an address is, by MaxMind files on this node: country, city and whose network it is (row H6).

What always holds: an address is neither kept nor logged, nor is what the reader says of a look-up, since its
words may name the address. A file that is missing or damaged costs one line in the log and what it would have
told, nothing else; one that was replaced is read from the next look-up on. Files are read and not mapped: one
that somebody writes over in place would end a process that has it mapped (SIGBUS).
"""

import datetime
import logging
import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

from shared import logs

if TYPE_CHECKING:
    from maxminddb import Reader

LOGGER = logging.getLogger(__name__)

#: Names are cut to so many characters: they travel in messages.
LONGEST_NAME = 100

#: Tells one content of a path from another; None where there is no file.
_Signature = tuple[int, int, int, int] | None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an address is; None for what the files do not tell. `country` is a code of ISO 3166-1."""

    country: str | None
    city: str | None
    isp: str | None


class Places:
    """The files in use. For one thread at a time; a look-up takes some 0.1 ms."""

    def __init__(self, city: "_File | None", asn: "_File | None") -> None:
        self._city = city
        self._asn = asn

    @classmethod
    def open(cls, city: Path | None, asn: Path | None) -> "Places":
        """Use these files, as GeoLite2-City and GeoLite2-ASN or GeoIP2-ISP; either may be left out."""
        return cls(None if city is None else _File(city), None if asn is None else _File(asn))

    def look_up(self, address: IPv4Address | IPv6Address) -> Place | None:
        """What the files tell of an address; None when they tell nothing. Raises nothing."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        where = self._city.record(address) if self._city else None
        whose = self._asn.record(address) if self._asn else None
        place = Place(
            country=_text(where, "country", "iso_code"),
            city=_text(where, "city", "names", "en"),
            isp=_text(whose, "isp") or _text(whose, "autonomous_system_organization"),
        )
        return None if place == _NOWHERE else place

    def close(self) -> None:
        """Close the files."""
        for one in (self._city, self._asn):
            if one:
                one.close()


_NOWHERE = Place(country=None, city=None, isp=None)


class _File:
    """One file, opened anew when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: Reader | None = None
        self._seen = _signature(path)
        self._read_in()

    def record(self, address: IPv4Address | IPv6Address) -> object:
        """What the file has of an address."""
        self._renew()
        reader = self._reader
        if reader is None or (address.version == 6 and reader.metadata().ip_version == 4):  # noqa: PLR2004
            return None
        try:
            return reader.get(address)
        except Exception:  # noqa: BLE001 - damaged data fails in more ways than the reader names
            self.close()
            self._unreadable("it is damaged: put a good one in its place")
            return None

    def close(self) -> None:
        """Close it; it is not opened again before it changes."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def _renew(self) -> None:
        seen = _signature(self._path)
        if seen != self._seen:
            self._seen = seen
            self.close()
            self._read_in()

    def _read_in(self) -> None:
        try:
            self._path.open("rb").close()
        except OSError as error:
            self._unreadable(error.strerror or "it cannot be read")
            return
        try:
            self._reader = _opened(self._path)
            about = self._reader.metadata()
            built = datetime.datetime.fromtimestamp(about.build_epoch, datetime.UTC).date().isoformat()
        except ImportError:
            self._unreadable("it needs the package maxminddb: pip install 'tidegate[geo]'")
        except Exception:  # noqa: BLE001 - what is no such file fails in more ways than the reader names
            self.close()
            self._unreadable("it is no MaxMind DB file, or damaged: put a good one in its place")
        else:
            kind = str(about.database_type)[:LONGEST_NAME]
            logs.event(LOGGER, logging.INFO, "places_opened", file=str(self._path), type=kind, built=built)

    def _unreadable(self, reason: str) -> None:
        logs.event(LOGGER, logging.WARNING, "places_unreadable", file=str(self._path), reason=reason)


def _opened(path: Path) -> "Reader":
    # Here, since most nodes have no such file, and the package costs memory.
    import maxminddb  # noqa: PLC0415

    return maxminddb.open_database(path, maxminddb.MODE_FILE)


def _signature(path: Path) -> _Signature:
    try:
        found = os.stat(path)  # noqa: PTH116 - a third of the time of Path's own, at each look-up
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _text(record: object, *keys: str) -> str | None:
    for key in keys:
        if not isinstance(record, dict):
            return None
        record = record.get(key)
    return record[:LONGEST_NAME] if isinstance(record, str) and record else None
