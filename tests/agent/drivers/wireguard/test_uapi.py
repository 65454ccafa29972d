"""What is said to wireguard-go and what it says: no rubbish gets through, in either direction."""

import base64
import itertools
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.drivers.wireguard import uapi
from agent.drivers.wireguard.peers import Change, Seen, State, block, remove
from tests.agent.drivers.wireguard import samples

ANSWERS = st.builds(samples.answer, samples.STATES)


def read(answer: bytes, *cuts: int) -> uapi.Answer:
    """The answer as it is read when it comes in portions."""
    found = uapi.Answer()
    bounds = sorted({0, len(answer), *(cut % (len(answer) + 1) for cut in cuts)})
    portions = [answer[start:end] for start, end in itertools.pairwise(bounds)]
    complete = [found.feed(portion) for portion in portions]
    assert complete == [*([False] * (len(portions) - 1)), True]
    return found


@given(samples.STATES, st.lists(st.integers(min_value=0), max_size=6))
def test_what_was_told_is_read_in_whatever_portions_it_comes(state: State, cuts: list[int]) -> None:
    answer = samples.answer(state)
    if any(answer[: cut % (len(answer) + 1)].endswith(b"\n\n") for cut in cuts):
        return
    assert read(answer, *cuts).state == state


@given(samples.STATES)
def test_what_has_not_changed_is_the_same_object_as_before(state: State) -> None:
    first = read(samples.answer(state))
    second = uapi.Answer(first.known)
    second.feed(samples.answer(state))
    for key, seen in first.state.peers.items():
        assert second.state.peers[key] is seen


@given(st.binary(max_size=400), st.binary(max_size=400))
@example(b"errno=0\n\n", b"errno=0\n\n")
@example(b"public_key=", b"\npublic_key=errno=0\n\n")
@example(b"public_key=x\nallowed_ip=\xff/1\n", b"errno=0\n\n")
def test_rubbish_is_refused_and_nothing_else_is_raised(first: bytes, second: bytes) -> None:
    answer = uapi.Answer()
    try:
        answer.feed(first)
        answer.feed(second)
    except uapi.UapiError:
        return


@given(ANSWERS, st.integers(0, 10_000), st.integers(1, 255))
def test_a_torn_answer_is_read_or_refused(answer: bytes, place: int, flip: int) -> None:
    torn = bytearray(answer)
    torn[place % len(torn)] ^= flip
    try:
        uapi.Answer().feed(bytes(torn))
    except uapi.UapiError:
        return


def test_a_refusal_has_its_number() -> None:
    answer = uapi.Answer()
    assert answer.feed(b"errno=-98\n\n")
    assert answer.errno == -98
    assert answer.state == State()


def test_an_answer_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uapi, "_MAX_BYTES", 1000)
    answer = uapi.Answer()
    answer.feed(b"private_key=" + b"0" * 900)
    with pytest.raises(uapi.UapiError):
        answer.feed(b"0" * 200)


@given(st.lists(samples.CHANGES, max_size=5))
def test_every_change_is_lines_of_known_words(changes: list[Change]) -> None:
    text = b"".join(uapi.pieces(changes))
    for line in filter(None, text.split(b"\n")):
        name, _, value = line.partition(b"=")
        assert name in samples.WORDS
        assert samples.VALUE.fullmatch(value)
    assert text.count(b"public_key=") == len(changes)


def test_changes_are_said_in_pieces_that_a_block_need_not_wait_long_for() -> None:
    generator = random.Random(1)
    changes = [Change(samples.key(generator), allowed=(f"10.0.{n >> 8}.{n & 255}/32",)) for n in range(1201)]
    said = list(uapi.pieces(changes))
    assert [piece.count(b"public_key=") for piece in said] == [500, 500, 201]
    assert all(piece.startswith(b"set=1\n") and piece.endswith(b"\n\n") for piece in said)


def test_blocking_and_removing_make_no_peer_that_is_not_there() -> None:
    key = base64.b64encode(bytes(32)).decode()
    (said,) = uapi.pieces([block(key), remove(key)])
    for part in said.split(b"public_key=")[1:]:
        assert b"update_only=true" in part
    assert b"replace_peers" not in said


WRONG_KEYS = ["", "x", "A" * 44, "AAAA\nremove=true", base64.b64encode(bytes(31)).decode()]


@pytest.mark.parametrize("wrong", WRONG_KEYS)
def test_what_is_no_key_is_never_said(wrong: str) -> None:
    with pytest.raises(uapi.UapiError):
        list(uapi.pieces([block(wrong)]))
    with pytest.raises(uapi.UapiError):
        uapi.configuration(wrong, 1)


@given(st.text(max_size=30))
@example("10.0.0.1/32\nremove=true")
@example("10.0.0.1/32; reboot")
@example("10.0.0.1/32\n")
def test_no_address_carries_a_line_or_a_sign_of_a_shell(address: str) -> None:
    change = Change(base64.b64encode(bytes(32)).decode(), allowed=(address,))
    try:
        (said,) = uapi.pieces([change])
    except uapi.UapiError:
        return
    assert said.count(b"\n") == 5
    assert set(address) <= set("0123456789abcdef:./")


def test_seen_peers_without_fields_have_nothing() -> None:
    key = samples.key(random.Random(2))
    text = b"public_key=" + base64.b64decode(key).hex().encode() + b"\nerrno=0\n\n"
    assert read(text).state.peers == {key: Seen(key, None, (), "", 0, 0, 0)}
