"""Certificates for tests: PEM texts with a key of their own, good between two moments."""

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

HOST = "vpn.example.org"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM texts."""

    certificate: str
    key: str


def pair(
    since: datetime.datetime,
    until: datetime.datetime,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    names: int = 1,
) -> Pair:
    """A self-signed certificate of `HOST` with so many more names."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    others = [x509.DNSName(HOST), *(x509.DNSName(f"host{n}.example.org") for n in range(names))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName(others), critical=False)
        .sign(own, hashes.SHA256())
    )
    secret = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(made.public_bytes(serialization.Encoding.PEM).decode(), secret.decode())


def lasting(days: float) -> Pair:
    """One that began a month ago and has so many days to go; fewer than none: it is expired."""
    now = datetime.datetime.now(datetime.UTC)
    return pair(now - datetime.timedelta(days=30), now + datetime.timedelta(days=days))
