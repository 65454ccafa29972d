"""Words of nodes that were asked what they hold, for every word there can be."""

from hypothesis import given
from hypothesis import strategies as st

from agent.core import leases as held
from collector.domain import learning
from collector.domain.learning import Verdict, Word
from collector.domain.leases import Ceilings
from shared.messages import Lease
from shared.names import UserId

NUMBERS = st.integers(0, 2**40)
ASKED_MS = 1_800_000_000_000


@given(NUMBERS, NUMBERS)
def test_only_a_higher_serial_proves_that_something_was_forgotten(told: int, known: int) -> None:
    verdict = learning.heard(Word(serial=told), known, None)
    assert (verdict is Verdict.FORGOTTEN) == (told > known)


@given(NUMBERS, NUMBERS, NUMBERS, st.integers(1, 2**40))
def test_only_a_word_that_repeats_the_question_is_believed(
    serial: int, known: int, repeated: int, asked: int
) -> None:
    word = Word(serial=serial, learning=repeated)
    assert (learning.heard(word, known, asked) is Verdict.LEARNED) == (repeated == asked)


@given(NUMBERS, st.integers(1, 10_000))
def test_an_answer_ends_with_its_last_part(serial: int, untold: int) -> None:
    word = Word(serial=serial, learning=ASKED_MS, untold=untold)
    assert learning.heard(word, 0, ASKED_MS) is Verdict.TOLD
    assert learning.heard(word._replace(untold=0), 0, ASKED_MS) is Verdict.LEARNED


@given(st.lists(st.integers(1, 10**6), unique=True), st.integers(1, 50))
def test_the_parts_of_an_answer_cover_every_user_once(numbers: list[int], most: int) -> None:
    left, after, covered = sorted(numbers), 0, []
    while True:
        part, left = left[:most], left[most:]
        word = Word(held=tuple(Lease(UserId(one), 1) for one in part), after=after, untold=len(left))
        last = word.last
        covered.append((after, last))
        if last is None:
            break
        after = last
    for one in (*numbers, *range(1, 10)):
        assert sum(begin < one and (end is None or one <= end) for begin, end in covered) == 1


@given(st.tuples(*[st.none() | NUMBERS] * 3), st.tuples(*[NUMBERS] * 3))
def test_what_is_told_differs_unless_it_is_what_was_given(
    given_: tuple[int | None, int | None, int | None], told: tuple[int, int, int]
) -> None:
    known = Ceilings(*given_)
    same = Ceilings(*(two if one is None else one for one, two in zip(given_, told, strict=True)))
    assert learning.differs(known, same) == (known == Ceilings())
    assert learning.differs(known, Ceilings(*told)) == (known == Ceilings() or same != Ceilings(*told))
    assert learning.differs(known, None) == (known != Ceilings())
    assert learning.differs(None, Ceilings(*told))


@given(st.integers(0, 10**9))
def test_a_question_is_renewed_once_it_is_old_and_only_while_it_is_open(age_ms: int) -> None:
    now_ms = ASKED_MS + age_ms
    assert learning.stale(Verdict.WAITING, ASKED_MS, now_ms) == (age_ms > learning.RENEW_MS)
    assert not learning.stale(Verdict.LEARNED, ASKED_MS, now_ms)
    assert not learning.stale(Verdict.KNOWN, None, now_ms)


def test_a_node_voids_its_leases_before_the_collector_stops_waiting_for_it() -> None:
    assert held.TERM_S * 1000 + learning.RENEW_MS <= learning.TERM_MS
