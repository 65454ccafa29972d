"""Frames of HTTP/2: however they come in pieces, they come out whole."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.xray import frames

PIECES = st.lists(st.integers(1, 40), min_size=1)
PLAIN = st.builds(
    frames.Frame,
    st.sampled_from((frames.DATA, frames.SETTINGS, frames.PING, frames.WINDOW_UPDATE)),
    st.sampled_from((0, frames.ACK)),
    st.integers(0, frames.LAST_STREAM),
    st.binary(max_size=60),
)


def read(data: bytes, sizes: list[int]) -> list[frames.Frame]:
    reader, found, at = frames.Reader(), list[frames.Frame](), 0
    while at < len(data):
        size = sizes[len(found) % len(sizes)]
        found += reader.feed(data[at : at + size])
        at += size
    return found


@given(st.lists(PLAIN), PIECES)
def test_frames_come_out_as_they_were_written_however_they_are_cut(
    written: list[frames.Frame], sizes: list[int]
) -> None:
    assert read(b"".join(frames.frame(*each) for each in written), sizes) == written


@given(st.lists(st.binary(max_size=30), min_size=1), PIECES)
def test_a_header_block_comes_out_with_all_that_continues_it(parts: list[bytes], sizes: list[int]) -> None:
    first, *others = parts
    sent = frames.frame(frames.HEADERS, frames.END_STREAM | (0 if others else frames.END_HEADERS), 7, first)
    for left, part in enumerate(reversed(others), start=1 - len(others)):
        sent += frames.frame(frames.CONTINUATION, 0 if left else frames.END_HEADERS, 7, part)
    (found,) = read(sent, sizes)
    assert found.payload == first + b"".join(reversed(others))
    assert found.flags == frames.END_STREAM | frames.END_HEADERS
    assert (found.kind, found.stream) == (frames.HEADERS, 7)


@given(st.dictionaries(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)))
def test_settings_come_out_as_they_were_written(values: dict[int, int]) -> None:
    (found,) = frames.Reader().feed(frames.settings(values))
    assert frames.settled(found.payload) == values


def test_a_header_block_can_be_sent_again_in_any_order() -> None:
    one, two = [(":path", "/one"), ("te", "trailers")], [(":path", "/two")]
    decoder = hpack.Decoder()
    for fields in (one, two, one, one):
        found = decoder.decode(frames.block(fields), raw=True)
        assert [(name.decode(), value.decode()) for name, value in found] == fields
    assert not decoder.header_table.dynamic_entries


@pytest.mark.parametrize(
    "sent",
    [
        frames.frame(frames.DATA, payload=bytes(frames.FRAME_BYTES + 1)),
        frames.frame(frames.DATA, 0x8, 1, b"\x01ab"),
        frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.PING, 0, 0, bytes(8)),
        frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.CONTINUATION, frames.END_HEADERS, 3),
        frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1),
        frames.frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, bytes(4)),
    ],
    ids=["too large", "padded", "not continued", "continued elsewhere", "nothing to continue", "pushed"],
)
def test_what_cannot_be_read_is_an_error(sent: bytes) -> None:
    with pytest.raises(frames.FrameError):
        list(frames.Reader().feed(sent))


def test_a_number_or_settings_that_are_cut_short_are_an_error() -> None:
    with pytest.raises(frames.FrameError):
        frames.said(b"abc")
    with pytest.raises(frames.FrameError):
        frames.settled(b"abc")
