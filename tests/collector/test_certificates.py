"""The own CA: made once, pinned by its hash, and it issues what TLS clients accept."""

import hashlib
import socket
import ssl
import stat
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519

from collector import certificates

NAMES = ("collector.example", "192.0.2.7", "2001:db8::7")
DAY_MS = 24 * 3600 * 1000
NOW_MS = time.time_ns() // 1_000_000


def _leaf(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


def _handshake(path: Path, ca_pem: str, name: str) -> None:
    """A real handshake between the server file and a client that trusts this CA only."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    client = ssl.create_default_context(cadata=ca_pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("name", [*NAMES, "localhost", "127.0.0.1", "::1"])
def test_a_client_that_trusts_the_ca_accepts_the_server_under_each_of_its_names(
    tmp_path: Path, name: str
) -> None:
    path = certificates.server_file(tmp_path, NAMES, NOW_MS)
    _handshake(path, certificates.authority(tmp_path, NOW_MS).pem, name)


def test_a_client_refuses_the_server_under_another_name_or_another_ca(tmp_path: Path) -> None:
    path = certificates.server_file(tmp_path / "a", NAMES, NOW_MS)
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(path, certificates.authority(tmp_path / "a", NOW_MS).pem, "other.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(path, certificates.authority(tmp_path / "b", NOW_MS).pem, NAMES[0])


def test_the_pin_is_the_hash_of_the_certificate_in_der(tmp_path: Path) -> None:
    made = certificates.authority(tmp_path, NOW_MS)
    der = ssl.PEM_cert_to_DER_cert(made.pem)
    assert made.pin == "sha256:" + hashlib.sha256(der).hexdigest()


def test_the_authority_is_made_once(tmp_path: Path) -> None:
    first = certificates.authority(tmp_path, NOW_MS)
    assert certificates.authority(tmp_path, NOW_MS + 4000 * DAY_MS).pin == first.pin


def test_the_authority_may_sign_certificates_and_the_server_may_not(tmp_path: Path) -> None:
    path = certificates.server_file(tmp_path, NAMES, NOW_MS)
    for certificate, is_authority in (
        (certificates.authority(tmp_path, NOW_MS).certificate, True),
        (_leaf(path), False),
    ):
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert constraints.critical
        assert usage.critical
        assert constraints.value.ca is is_authority
        assert usage.value.key_cert_sign is is_authority
        assert usage.value.digital_signature is not is_authority
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"


def test_keys_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    certificates.server_file(tmp_path / "tls", NAMES, NOW_MS)
    files = [path for path in (tmp_path / "tls").iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert len(files) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700


def test_what_is_published_holds_no_key(tmp_path: Path) -> None:
    issuer = certificates.authority(tmp_path, NOW_MS)
    certificates.publish(issuer, tmp_path / "ca.pem")
    assert (tmp_path / "ca.pem").read_text() == issuer.pem
    assert "PRIVATE" not in issuer.pem


def test_a_good_certificate_is_kept(tmp_path: Path) -> None:
    before = certificates.server_file(tmp_path, NAMES, NOW_MS).read_bytes()
    after = certificates.server_file(tmp_path, tuple(reversed(NAMES)), NOW_MS + 366 * DAY_MS)
    assert after.read_bytes() == before


def test_a_certificate_is_issued_again_when_it_ends_within_thirty_days(tmp_path: Path) -> None:
    before = _leaf(certificates.server_file(tmp_path, NAMES, NOW_MS))
    after = _leaf(certificates.server_file(tmp_path, NAMES, NOW_MS + 368 * DAY_MS))
    assert after.serial_number != before.serial_number
    assert (after.not_valid_after_utc - before.not_valid_after_utc).days == 368


def test_a_certificate_is_issued_again_when_the_names_change(tmp_path: Path) -> None:
    certificates.server_file(tmp_path, NAMES, NOW_MS)
    path = certificates.server_file(tmp_path, ("other.example",), NOW_MS)
    _handshake(path, certificates.authority(tmp_path, NOW_MS).pem, "other.example")


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_broken_server_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    certificates.server_file(tmp_path, NAMES, NOW_MS).write_bytes(content)
    path = certificates.server_file(tmp_path, NAMES, NOW_MS)
    _handshake(path, certificates.authority(tmp_path, NOW_MS).pem, NAMES[0])


def test_a_server_certificate_of_another_authority_is_replaced(tmp_path: Path) -> None:
    foreign = certificates.server_file(tmp_path / "a", NAMES, NOW_MS).read_bytes()
    certificates.server_file(tmp_path / "b", NAMES, NOW_MS).write_bytes(foreign)
    path = certificates.server_file(tmp_path / "b", NAMES, NOW_MS)
    _handshake(path, certificates.authority(tmp_path / "b", NOW_MS).pem, NAMES[0])


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_a_broken_authority_is_never_replaced_by_itself(tmp_path: Path, content: bytes) -> None:
    certificates.authority(tmp_path, NOW_MS)
    (tmp_path / "authority.pem").write_bytes(content)
    with pytest.raises(certificates.CertificateError, match="restore it from a backup"):
        certificates.server_file(tmp_path, NAMES, NOW_MS)
    assert (tmp_path / "authority.pem").read_bytes() == content


def test_an_authority_with_the_key_of_another_is_refused(tmp_path: Path) -> None:
    mine = certificates.authority(tmp_path / "a", NOW_MS)
    other = certificates.authority(tmp_path / "b", NOW_MS)
    key = other.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "a" / "authority.pem").write_bytes(key + mine.pem.encode())
    with pytest.raises(certificates.CertificateError):
        certificates.authority(tmp_path / "a", NOW_MS)


def _pem(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | x25519.X25519PrivateKey, password: bytes = b""
) -> str:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, hidden).decode()


def _pair(directory: Path) -> tuple[str, str]:
    """A certificate with its chain, and its key."""
    text = certificates.server_file(directory, NAMES, NOW_MS).read_text()
    end = text.index("-----BEGIN CERTIFICATE")
    return text[end:], text[:end]


def test_a_certificate_and_its_key_are_accepted_as_they_are_issued(tmp_path: Path) -> None:
    assert certificates.wrong_pair(*_pair(tmp_path), NOW_MS) == {}


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("", "passphrase"),
        ("-----BEGIN PRIVATE KEY-----", "passphrase"),
        (_pem(ec.generate_private_key(ec.SECP256R1())), "belong together"),
        (_pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), "passphrase"),
        (_pem(ec.generate_private_key(ec.SECP256K1())), "P-256"),
        (_pem(x25519.X25519PrivateKey.generate()), "Ed25519"),
    ],
)
def test_a_key_that_no_server_could_use_with_the_certificate_is_refused(
    tmp_path: Path, key: str, word: str
) -> None:
    found = certificates.wrong_pair(_pair(tmp_path)[0], key, NOW_MS)
    assert list(found) == ["key"]
    assert word in found["key"]


def test_a_certificate_that_is_none_or_has_ended_is_refused(tmp_path: Path) -> None:
    certificate, key = _pair(tmp_path)
    for text in ("", "x", certificate[:200], key):
        assert list(certificates.wrong_pair(text, key, NOW_MS)) == ["certificate"]
    late = certificates.wrong_pair(certificate, key, NOW_MS + 400 * DAY_MS)
    assert "renew" in late["certificate"]
    turned = "".join(reversed(certificate.partition("-----BEGIN CERTIFICATE-----\n")))
    assert certificates.wrong_pair(turned, key, NOW_MS)
