"""Dates of certificates, as `cryptography` writes them, are read to the second; rubbish is told in words."""

import base64
import contextlib
import datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import certificates
from agent.core.certificates import Validity
from tests.agent import certificates as made

DAY_MS = 86_400_000
KEY = ec.generate_private_key(ec.SECP256R1())
BEGINNING = datetime.datetime(1951, 1, 1, tzinfo=datetime.UTC)
SECONDS = st.integers(0, 8 * 10**9).map(lambda seconds: BEGINNING + datetime.timedelta(seconds=seconds))


def pem(
    since: datetime.datetime,
    until: datetime.datetime,
    key: CertificateIssuerPrivateKeyTypes = KEY,
    names: int = 1,
) -> str:
    return made.pair(since, until, key, names).certificate


def ms(at: datetime.datetime) -> int:
    return int(at.timestamp()) * 1000


@settings(deadline=None)
@given(SECONDS, st.integers(1, 10**9))
def test_dates_are_read_as_they_were_written(since: datetime.datetime, seconds: int) -> None:
    until = since + datetime.timedelta(seconds=seconds)
    assert certificates.validity(pem(since, until)) == Validity(since_ms=ms(since), until_ms=ms(until))


def test_a_certificate_without_end_is_read() -> None:
    since = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    until = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
    assert certificates.validity(pem(since, until)).until_ms == ms(until)


def test_an_rsa_certificate_with_many_names_is_read() -> None:
    since = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    until = since + datetime.timedelta(days=90)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = pem(since, until, key, names=200)
    assert certificates.validity(text) == Validity(since_ms=ms(since), until_ms=ms(until))


def test_of_a_chain_the_first_end_and_the_last_beginning_count() -> None:
    day = datetime.timedelta(days=1)
    now = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
    chain = "subject=...\n" + pem(now - 9 * day, now + 30 * day) + "\r\n" + pem(now - day, now + 90 * day)
    assert certificates.validity(chain) == Validity(since_ms=ms(now - day), until_ms=ms(now + 30 * day))


def test_a_text_without_a_certificate_is_told_in_words() -> None:
    with pytest.raises(certificates.UnreadableError, match="no certificate"):
        certificates.validity("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")


@given(st.binary(max_size=200))
def test_rubbish_is_told_in_words(data: bytes) -> None:
    body = base64.b64encode(data).decode()
    text = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
    with pytest.raises(certificates.UnreadableError):
        certificates.validity(text)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_certificate_is_read_or_told_in_words(place: int, value: int) -> None:
    now = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
    lines = pem(now, now + datetime.timedelta(days=1)).splitlines()
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    der[place % len(der)] = value
    body = base64.b64encode(bytes(der)).decode()
    # Anything but these two ends the test.
    with contextlib.suppress(certificates.UnreadableError):
        certificates.validity(f"{lines[0]}\n{body}\n{lines[-1]}\n")


@pytest.mark.parametrize(
    ("now_ms", "kind"),
    [
        (-1, "early"),
        (0, None),
        (76 * DAY_MS - 1, None),
        (76 * DAY_MS, "soon"),
        (90 * DAY_MS - 1, "soon"),
        (90 * DAY_MS, "expired"),
    ],
)
def test_a_certificate_is_warned_of_two_weeks_before_its_end(now_ms: int, kind: str | None) -> None:
    verdict = certificates.judge(Validity(since_ms=0, until_ms=90 * DAY_MS), now_ms)
    assert (verdict and verdict.kind) == kind


def test_a_verdict_names_the_day() -> None:
    verdict = certificates.judge(Validity(since_ms=0, until_ms=90 * DAY_MS), 91 * DAY_MS)
    assert verdict is not None
    assert "expired on 1970-04-01 00:00 UTC" in verdict.sentence
