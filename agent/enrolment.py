"""Joining a fleet: a one-time token is spent for the node's identity.

What always holds: the token is sent only to a collector that was verified, by the hash of its CA that came
with the token (as kubeadm does) or by the CAs of the system; and only after the place for the answer exists,
since the token works once and its answer is shown once. What the node was lent under its old credentials it
does not serve under new ones: whoever voided those may have given it to others.
"""

import asyncio
import contextlib
import hashlib
import re
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

import msgspec

from agent import identity, ledger, link, release, wire
from shared.messages import Registered, Registration

_TIMEOUT_S = 15.0
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
#: RFC 6750 section 2.1.
_TOKEN = re.compile("[A-Za-z0-9._~+/-]+=*")
_HASH = re.compile("sha256:[0-9a-f]{64}")


class EnrolmentError(Exception):
    """The node did not join; the text says why and what to do."""


def ca_hash(text: str) -> str:
    """A CA hash as the enrolment line carries it. Raises ValueError."""
    if not _HASH.fullmatch(text.lower()):
        raise ValueError("a CA hash is written sha256: and 64 hexadecimal digits")
    return text.lower()


def enroll(url: str, token: str, pin: str | None, state_dir: Path, *, force: bool) -> identity.Identity:
    """Spend the token and keep the identity. Raises EnrolmentError.

    The agent must not run meanwhile; its lock is the caller's.
    """
    if not _TOKEN.fullmatch(token):
        raise EnrolmentError("this is not an enrolment token: copy the whole line that `node enroll` printed")
    if (state_dir / identity.FILE_NAME).exists() and not force:
        raise EnrolmentError(
            f"this node is enrolled already ({state_dir}): give --force to replace its identity"
        )
    try:
        address = link.base_url(url)
        _void_leases(state_dir)
        place = identity.Place(state_dir)
    except (link.UnsafeUrlError, identity.IdentityError, ledger.LedgerError) as error:
        raise EnrolmentError(str(error)) from error
    try:
        ca_pem = None if pin is None else _fetch_ca(address, pin)
        joined = _register(address, token, ca_pem)
        if not _is_same_node(state_dir, joined):
            _set_ledger_aside(state_dir)
        place.fill(joined)
    except (link.LinkProblem, identity.IdentityError, OSError) as error:
        raise EnrolmentError(str(error)) from error
    finally:
        place.abandon()
    return joined


def _fetch_ca(address: str, pin: str) -> str:
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    tls = None if link.trust(address, None) is None else blind
    response = _ask(wire.Wire(address, tls), "GET", "/api/v1/ca", {}, None)
    for found in _CERTIFICATE.findall(response.body.decode(errors="replace")):
        if _fingerprint(found) == pin:
            return f"{found}\n"
    raise EnrolmentError(
        "the collector's CA does not have the hash that the enrolment line carries: "
        "this is not the collector that printed it, or its CA was replaced; ask for a new line"
    )


def _fingerprint(pem: str) -> str:
    try:
        return f"sha256:{hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()}"
    except ValueError:
        return ""


def _register(address: str, token: str, ca_pem: str | None) -> identity.Identity:
    about = Registration(agent_version=release.VERSION, hostname=socket.gethostname())
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    over = wire.Wire(address, link.trust(address, ca_pem))
    response = _ask(over, "POST", "/api/v1/nodes/register", headers, msgspec.json.encode(about))
    given = link.read(response, Registered)
    return identity.Identity(
        url=address,
        node=given.node,
        name=given.name,
        client_id=given.client_id,
        client_secret=given.client_secret,
        ca_pem=ca_pem,
    )


def _ask(
    over: wire.Wire, method: str, path: str, headers: Mapping[str, str], body: bytes | None
) -> wire.Answer:
    """One question over a connection of its own: a token that works once must not be told twice."""

    async def ask() -> wire.Answer:
        try:
            return await over.ask(method, path, headers, body, _TIMEOUT_S)
        finally:
            await over.close()

    with link.translated():
        answer = asyncio.run(ask())
    link.check(answer)
    return answer


def _is_same_node(state_dir: Path, joined: identity.Identity) -> bool:
    """Whether this node gets new credentials only; then what its ledger has not told yet is still owed."""
    try:
        before = identity.load(state_dir)
    except identity.IdentityError:
        return False
    same_fleet = before.ca_pem == joined.ca_pem and (joined.ca_pem is not None or before.url == joined.url)
    return same_fleet and before.node == joined.node


def _void_leases(state_dir: Path) -> None:
    path = state_dir / ledger.FILE_NAME
    if path.exists():
        with contextlib.closing(ledger.open_ledger(path)) as book:
            book.lend((), set(book.leases))


def _set_ledger_aside(state_dir: Path) -> None:
    """Another identity is another node: totals counted as the old one must not be reported by it."""
    path = state_dir / ledger.FILE_NAME
    if not path.exists():
        return
    number = next(n for n in range(1, 10_000) if not Path(f"{path}.old-{n}").exists())
    for suffix in ("-wal", "-shm", ""):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.rename(f"{path}.old-{number}{suffix}")
