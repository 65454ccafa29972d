"""The URL of a database: every part is understood, and what is wrong is said without any of its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.store import address
from collector.store.address import Address


def test_every_part_is_taken_with_its_escapes() -> None:
    assert address.parsed(
        "postgresql://tide:p%40ss%2F%23@db.example:6432/gate?sslmode=verify-full"
    ) == Address(
        name="gate",
        host="db.example",
        port=6432,
        user="tide",
        password="p@ss/#",
        options=(("sslmode", "verify-full"),),
    )


def test_what_is_left_out_is_up_to_the_library() -> None:
    assert address.parsed("postgres:///gate?host=/run/postgresql") == Address(
        name="gate", host="/run/postgresql"
    )
    assert address.parsed("postgresql://[2001:db8::1]/gate") == Address(name="gate", host="2001:db8::1")


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("mysql://u:geheim@h/db", "scheme"),
        ("geheim", "scheme"),
        ("postgresql://u:geheim@h", "name of the database"),
        ("postgresql://u:geheim@h:port/db", "taken apart"),
        ("postgresql://u:geh#eim@h/db", "apart"),
        ("postgresql://u:geh/eim@h/db", "apart"),
        ("postgresql://u@h/db?options=geheim", "1 of its options"),
        ("postgresql://u@h/db#geheim", "%23"),
        ("postgresql://u:geh%00eim@h/db", "NUL"),
        ("postgresql://u@h/a/geheim", "%2F"),
    ],
)
def test_a_wrong_url_is_explained_without_its_text(url: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong) as error:
        address.parsed(url)
    assert "postgresql://USER:PASSWORD@HOST:PORT/NAME" in str(error.value)
    assert "geh" not in str(error.value)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address.parsed(text)
    except ValueError as error:
        assert "must be postgresql://" in str(error)  # noqa: PT017 - either outcome is fine


def test_no_representation_shows_the_password() -> None:
    made = address.parsed("postgresql://u:geheim@h:1/db?sslpassword=geheim")
    assert "geheim" not in f"{made} {made!r}"
    assert str(made) == "db at h:1"
