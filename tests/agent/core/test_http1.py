"""Heads of answers are understood as RFC 9112 has them; nothing else is."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.core import http1


def head(*lines: str) -> http1.Head:
    return http1.answered("\r\n".join([*lines, "", ""]).encode("latin-1"))


def test_an_answer_with_a_length_keeps_its_connection() -> None:
    found = head("HTTP/1.1 200 OK", "Content-Type: application/json", "content-length:  7 ")
    assert found == (200, {"content-type": "application/json", "content-length": "7"}, 7, False, True)


@pytest.mark.parametrize(
    ("lines", "length", "chunked", "keeps"),
    [
        (["HTTP/1.1 200"], None, False, False),
        (["HTTP/1.1 204 No Content"], 0, False, True),
        (["HTTP/1.1 204 No Content", "Content-Length: 5"], 0, False, True),
        (["HTTP/1.1 100 Continue"], 0, False, True),
        (["HTTP/1.1 200 OK", "Transfer-Encoding: Chunked"], None, True, True),
        (["HTTP/1.1 200 OK", "Content-Length: 1", "Connection: x, Close"], 1, False, False),
        (["HTTP/1.0 200 OK", "Content-Length: 1"], 1, False, False),
        (["HTTP/1.1 200 OK", "Content-Length: 3", "Content-Length: 3"], 3, False, True),
    ],
)
def test_the_length_of_a_body_is_what_its_head_says(
    lines: list[str], length: int | None, *, chunked: bool, keeps: bool
) -> None:
    found = head(*lines)
    assert (found.length, found.chunked, found.keeps) == (length, chunked, keeps)


@pytest.mark.parametrize(
    "lines",
    [
        ["HTTP/2 200"],
        ["ICY 200 OK"],
        ["HTTP/1.1 20 OK"],
        ["HTTP/1.1 200 OK", "Content-Length: 3", "Content-Length: 4"],
        ["HTTP/1.1 200 OK", "Content-Length: -1"],
        ["HTTP/1.1 200 OK", "Content-Length: 1", "Transfer-Encoding: chunked"],
        ["HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked"],
        ["HTTP/1.1 200 OK", " folded: x"],
        ["HTTP/1.1 200 OK", "no colon"],
        ["HTTP/1.1 200 OK", "spaced : x"],
    ],
)
def test_what_may_be_read_in_two_ways_is_not_read(lines: list[str]) -> None:
    with pytest.raises(http1.MalformedError):
        head(*lines)


@given(st.binary(max_size=80))
@example(b"HTTP/1.1 200 OK\r\n\r\n")
def test_rubbish_is_malformed_or_a_head(rubbish: bytes) -> None:
    for read in (http1.answered, http1.chunk_size):
        with contextlib.suppress(http1.MalformedError):
            read(rubbish)


@given(st.integers(0, 2**40), st.sampled_from(["", ";x=1", " "]))
def test_a_chunk_says_its_size(size: int, rest: str) -> None:
    assert http1.chunk_size(f"{size:x}{rest}\r\n".encode()) == size


@given(st.text(max_size=20), st.text(max_size=20))
@example("t\r\nX: y", "/a")
@example("t", "/a HTTP/1.1\r\nX: y")
@example("t", "/a b")
def test_nothing_can_add_a_line_to_a_request(token: str, target: str) -> None:
    try:
        made = http1.asked("GET", target, {"Authorization": f"Bearer {token}"})
    except http1.MalformedError as error:
        text = str(error)
        assert text == "a request cannot carry this address or token"
    else:
        assert made == f"GET {target} HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        assert made.count(b"\n") == 3
        assert made.split(b"\r\n")[0].count(b" ") == 2
