"""The collector's own small certificate authority and the server certificate it issues.

What always holds: a key never leaves its file (0600), a file is replaced as a whole, and the CA is made once
and never replaced by itself, since agents pin its hash. The hash goes into the enrolment line as kubeadm
carries its own: SHA-256 of the CA's certificate in DER.
"""

import datetime
import hashlib
import ipaddress
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_LIFE = datetime.timedelta(days=3653)
#: What browsers and the CA/Browser Forum accept at most is 398 days.
_SERVER_LIFE = datetime.timedelta(days=397)
_RENEW_BEFORE = datetime.timedelta(days=30)
#: A node whose clock is behind must still accept a fresh certificate.
_BACKDATED = datetime.timedelta(hours=1)
_CA_FILE = "authority.pem"
_SERVER_FILE = "server.pem"
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_ALWAYS = ("localhost", "127.0.0.1", "::1")


class CertificateError(Exception):
    """The authority cannot be used; the text says what to do."""


@dataclass(frozen=True)
class Authority:
    """Our CA: its certificate and key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate as anyone may have it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")

    @property
    def pin(self) -> str:
        """What enrolment lines carry, as `sha256:…`."""
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        return "sha256:" + hashlib.sha256(der).hexdigest()


def has_authority(directory: Path) -> bool:
    """Whether an authority is kept in this directory."""
    return (directory / _CA_FILE).exists()


def authority(directory: Path, now_ms: int) -> Authority:
    """The authority kept in this directory, made where there is none. Raises CertificateError."""
    path = directory / _CA_FILE
    if path.exists():
        return _read_authority(path)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = _make_authority(_moment(now_ms))
    _replace(path, [_key_pem(made.key), made.pem.encode("ascii")])
    return made


def publish(issuer: Authority, path: Path) -> None:
    """Keep the certificate, without the key, where an operator's tools can be pointed at it."""
    if not path.exists() or path.read_text(encoding="ascii", errors="replace") != issuer.pem:
        _replace(path, [issuer.pem.encode("ascii")])


def server_file(directory: Path, names: tuple[str, ...], now_ms: int) -> Path:
    """A PEM file with the server's key and its chain, issued again where it is needed.

    It is issued when there is none, when the present one ends within 30 days, is for other names, or comes
    from another authority. Raises CertificateError.
    """
    issuer = authority(directory, now_ms)
    path = directory / _SERVER_FILE
    if not _is_good(path, issuer, names, _moment(now_ms)):
        key, certificate = _issue(issuer, names, _moment(now_ms))
        chain = certificate.public_bytes(serialization.Encoding.PEM)
        _replace(path, [_key_pem(key), chain, issuer.pem.encode("ascii")])
    return path


def wrong_pair(certificate: str, key: str, now_ms: int) -> dict[str, str]:
    """What is wrong with a certificate and its key as PEM texts, by field: of those a TLS server presents.

    Go's servers take RSA, ECDSA and Ed25519; Xray drops a pair that does not fit with a word in its log and
    fails every handshake.
    """
    try:
        first = x509.load_pem_x509_certificates(certificate.encode())[0]
        ends, presented = first.not_valid_after_utc, _spki(first.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return {"certificate": "use the certificate as PEM, followed by those that signed it"}
    try:
        private = serialization.load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return {"key": "use the certificate's private key as PEM, without a passphrase"}
    if not _is_served(private):
        return {"key": "use a key of RSA, of ECDSA on P-256, P-384 or P-521, or of Ed25519"}
    if _spki(private.public_key()) != presented:
        return {"key": "give the key of the first certificate: these two do not belong together"}
    if ends <= _moment(now_ms):
        return {"certificate": f"renew it: it ended on {ends:%Y-%m-%d}"}
    return {}


def _is_served(key: PrivateKeyTypes) -> bool:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return isinstance(key.curve, _CURVES)
    return isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey)


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _make_authority(now: datetime.datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Tidegate CA {secrets.token_hex(4)}")])
    builder = _builder(name, name, key, (now - _BACKDATED, now + _CA_LIFE))
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def _issue(
    issuer: Authority, names: tuple[str, ...], now: datetime.datetime
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tidegate collector")])
    ends = min(now + _SERVER_LIFE, issuer.certificate.not_valid_after_utc)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    certificate = (
        _builder(subject, issuer.certificate.subject, key, (now - _BACKDATED, ends))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_alternative_names(names), critical=False)
        .add_extension(identifier, critical=False)
        .sign(issuer.key, hashes.SHA256())
    )
    return key, certificate


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    validity: tuple[datetime.datetime, datetime.datetime],
) -> x509.CertificateBuilder:
    starts, ends = validity
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(names: tuple[str, ...]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general(name) for name in dict.fromkeys((*names, *_ALWAYS))])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _is_good(path: Path, issuer: Authority, names: tuple[str, ...], now: datetime.datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
        certificate.verify_directly_issued_by(issuer.certificate)
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    ends_late_enough = certificate.not_valid_after_utc - now > _RENEW_BEFORE
    return ends_late_enough and set(held) == set(_alternative_names(names))


def _read_authority(path: Path) -> Authority:
    try:
        content = path.read_bytes()
        key = serialization.load_pem_private_key(content, password=None)
        certificate = x509.load_pem_x509_certificate(content)
    except (OSError, ValueError) as wrong:
        raise _unusable(path) from wrong
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise _unusable(path)
    return Authority(certificate, key)


def _unusable(path: Path) -> CertificateError:
    return CertificateError(
        f"{path}: this is not the certificate authority that was made here; restore it from a backup,"
        " or remove it to make a new one and enrol every node again"
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _replace(path: Path, parts: list[bytes]) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(b"".join(parts))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _moment(now_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(now_ms / 1000, tz=datetime.UTC).replace(microsecond=0)
