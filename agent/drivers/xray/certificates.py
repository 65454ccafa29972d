"""Whether the certificates of endpoints can be had and used, asked before Xray is given them.

Xray starts with a certificate that does not fit its key and then fails every handshake. What always holds:
a certificate given as text is tried in memory, never on a disk; no sentence holds any of it.
"""

import os
import ssl
from pathlib import Path

from agent.drivers import memfiles
from shared import endpoints
from shared.messages import Endpoint

_MISMATCH = "KEY_VALUES_MISMATCH"


def problem(endpoint: Endpoint) -> str | None:
    """Why the certificate of an endpoint cannot be used, in a sentence; None when it can or there is none."""
    tls = endpoint.security
    if not isinstance(tls, endpoints.Tls):
        return None
    try:
        sentence = _texts(tls) if tls.certificate else _files(tls)
    except OSError as error:
        sentence = f"certificate and key cannot be read: {error.strerror}"
    return f"endpoint {endpoint.endpoint}: {sentence}" if sentence else None


def _files(tls: endpoints.Tls) -> str | None:
    for name in (tls.certificate_file, tls.key_file):
        try:
            Path(name).open("rb").close()
        except OSError as error:
            return f"the file {name} cannot be read: {error.strerror}"
    return _pair(tls.certificate_file, tls.key_file)


def _texts(tls: endpoints.Tls) -> str | None:
    certificate = memfiles.create("certificate", tls.certificate.encode())
    key = memfiles.create("key", tls.key.encode())
    try:
        return _pair(f"/proc/self/fd/{certificate}", f"/proc/self/fd/{key}")
    finally:
        os.close(certificate)
        os.close(key)


def _pair(certificate: str, key: str) -> str | None:
    for what, name in (("certificate", certificate), ("key", key)):
        if b"-----BEGIN " not in Path(name).read_bytes():
            return f"there is no PEM where the {what} ought to be"
    try:
        # A key with a passphrase is asked for on the terminal unless one is given; Xray knows none either.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == _MISMATCH:
            return "the key does not belong to the certificate"
        return "certificate or key cannot be used: OpenSSL does not take them"
    return None
