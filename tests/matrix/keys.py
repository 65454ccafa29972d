"""Keys and certificates for one run of the matrix, made anew each time."""

import base64
import datetime
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.x509.oid import NameOID

NAME = "vpn.test"


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate of its own for `NAME`, as files, and its SHA-256 in hexadecimal."""

    certificate: Path
    key: Path
    fingerprint: str


class Signed(NamedTuple):
    """A certificate with its key, as PEM, and its SHA-256 in hexadecimal."""

    pem: str
    key: str
    fingerprint: str


@dataclass(frozen=True)
class Pair:
    """An X25519 pair as raw bytes."""

    private: bytes
    public: bytes

    def standard(self) -> tuple[str, str]:
        """Private and public in base64, as WireGuard has them."""
        return base64.b64encode(self.private).decode(), base64.b64encode(self.public).decode()

    def url(self) -> tuple[str, str]:
        """Private and public in base64url without padding, as Xray has them."""
        return _url(self.private), _url(self.public)


def pair() -> Pair:
    """A fresh pair."""
    private = x25519.X25519PrivateKey.generate()
    return Pair(private.private_bytes_raw(), private.public_key().public_bytes_raw())


def key(size: int) -> str:
    """So many random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(size)).decode()


def signed(host: str) -> Signed:
    """A self-signed certificate of this host, valid for a day."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(private, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key_text = private.private_bytes(encoding, form, serialization.NoEncryption())
    fingerprint = made.fingerprint(hashes.SHA256()).hex()
    return Signed(made.public_bytes(encoding).decode(), key_text.decode(), fingerprint)


def certificate(directory: Path) -> Certificate:
    """One for `NAME`, as files."""
    made = signed(NAME)
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_text(made.pem, encoding="ascii")
    files[1].write_text(made.key, encoding="ascii")
    return Certificate(certificate=files[0], key=files[1], fingerprint=made.fingerprint)


def _url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
