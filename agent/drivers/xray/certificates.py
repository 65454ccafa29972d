"""Whether the certificates of endpoints can be had and used, asked before Xray is given them.

Xray starts with a certificate that does not fit its key and then fails every handshake. What always holds:
a certificate given as text is tried in memory, never on a disk; no sentence holds any of it.
"""

import os
import ssl
from pathlib import Path

from agent.drivers.xray import output
from shared import endpoints
from shared.messages import Endpoint

_REASONS = {
    "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
    "NO_START_LINE": "there is no PEM in one of the two",
    "PEM_LIB": "one of the two is not good PEM",
}


def problem(endpoint: Endpoint) -> str | None:
    """Why the certificate of an endpoint cannot be used, in a sentence; None when it can or there is none."""
    tls = endpoint.security
    if not isinstance(tls, endpoints.Tls):
        return None
    sentence = _texts(tls) if tls.certificate else _files(tls)
    return f"endpoint {endpoint.endpoint}: {sentence}" if sentence else None


def _files(tls: endpoints.Tls) -> str | None:
    for name in (tls.certificate_file, tls.key_file):
        try:
            Path(name).read_bytes()
        except OSError as error:
            return f"the file {name} cannot be read: {error.strerror}"
    return _pair(tls.certificate_file, tls.key_file)


def _texts(tls: endpoints.Tls) -> str | None:
    certificate = output.create("certificate", tls.certificate.encode())
    key = output.create("key", tls.key.encode())
    try:
        return _pair(f"/proc/self/fd/{certificate}", f"/proc/self/fd/{key}")
    finally:
        os.close(certificate)
        os.close(key)


def _pair(certificate: str, key: str) -> str | None:
    try:
        # A key with a passphrase is asked for on the terminal unless one is given; Xray knows none either.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        reason = _REASONS.get(error.reason or "", "one of the two cannot be used")
        return f"certificate and key do not work: {reason}"
    except OSError as error:
        return f"certificate and key do not work: {error.strerror}"
    return None
