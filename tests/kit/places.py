"""Small MaxMind files with made-up places, for addresses that RFC 5737 and RFC 3849 keep for examples."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet

#: In the files by their networks, and one that is in none.
BERLIN, LISBON, NOWHERE = (IPv4Address(f"{net}.7") for net in ("192.0.2", "198.51.100", "203.0.113"))
LISBON_6 = IPv6Address("2001:db8:1::7")

_CITIES: Mapping[str, Any] = {
    "192.0.2.0/24": {"country": {"iso_code": "DE"}, "city": {"names": {"en": "Berlin", "pt-BR": "Berlim"}}},
    "198.51.100.0/24": {"country": {"iso_code": "PT"}, "city": {"names": {"en": "Lisbon"}}},
    "2001:db8:1::/48": {"country": {"iso_code": "PT"}},
}
_NETWORKS: Mapping[str, Any] = {
    "192.0.2.0/24": {"autonomous_system_number": 64496, "autonomous_system_organization": "Spree Net"},
    "2001:db8:1::/48": {"isp": "Tejo", "autonomous_system_organization": "Tejo Holding"},
}


def write_cities(path: Path, records: Mapping[str, Any] = _CITIES) -> Path:
    """A file as GeoLite2-City is."""
    return write(path, records, "GeoLite2-City")


def write_networks(path: Path, records: Mapping[str, Any] = _NETWORKS) -> Path:
    """A file as GeoLite2-ASN is."""
    return write(path, records, "GeoLite2-ASN")


def write(path: Path, records: Mapping[str, Any], kind: str, *, version: int = 6) -> Path:
    """A file of these records by network, put in its place in one step."""
    writer = MMDBWriter(version, kind, ipv4_compatible=version == 6)
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    fresh = path.with_suffix(".fresh")
    writer.to_db_file(str(fresh))
    return fresh.replace(path)
