"""Usage by the hour, as admins ask for it, and what becomes of it with time (rows H9, R4, T3)."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from collector.app import tenants
from collector.domain import history as rules
from collector.domain import refusals
from collector.domain.access import SYSTEM, Actor
from collector.domain.history import Amount, By, History, Order, Question, Ranked, Span
from collector.store import archive, endpoints, history, nodes, users
from collector.store.archive import Batch, UnusableError
from collector.store.history import Hours
from collector.store.session import Session
from shared.names import EndpointId, NodeId, UserId

#: Rows that move in one transaction: reports wait for a few ms.
BATCH = 2_000


@dataclass(frozen=True)
class Stuck:
    """The file of a month takes nothing; its rows stay in the database."""

    month: int
    name: str
    reason: str


def of_user(
    session: Session, user: UserId, question: Question, now_ms: int, actor: Actor = SYSTEM
) -> History:
    """What a user moved, also one who was removed: his bytes were moved all the same."""
    tenants.require_ever(session, actor, user)
    return _answer(question, now_ms, lambda span: history.of_user(session, user, span))


def hours_of(session: Session, user: UserId, span: Span) -> Hours:
    """What a user moved in each hour of a span. Raises Refused where the file of a month cannot be used."""
    with _told():
        return history.of_user(session, user, span)


def of_node(session: Session, node: NodeId, question: Question, now_ms: int) -> History:
    """What was moved over a node, over endpoints that are gone too."""
    if nodes.find(session, node=node) is None:
        raise refusals.not_found("node", node)
    every = endpoints.factors(session, node)
    return _answer(question, now_ms, lambda span: history.of_endpoints(session, every, span))


def of_endpoint(session: Session, endpoint: EndpointId, question: Question, now_ms: int) -> History:
    """What was moved over an endpoint, also over one that is gone."""
    if endpoint not in endpoints.owners(session):
        raise refusals.not_found("endpoint", endpoint)
    return _answer(question, now_ms, lambda span: history.of_endpoints(session, [endpoint], span))


def of_all(session: Session, question: Question, now_ms: int) -> History:
    """What everybody moved."""
    return _answer(question, now_ms, lambda span: history.of_all(session, span))


def top(session: Session, by: By, question: Question, order: Order, most: int, now_ms: int) -> list[Ranked]:
    """The users, nodes or endpoints that moved most, the first one most of all."""
    if fields := rules.wrong(question, now_ms, ranked=True):
        raise refusals.invalid(fields)
    span = rules.asked(question, now_ms)
    with _told():
        ranked = _RANKINGS[by](session, span, order, most)
    names = _NAMES[by](session, [number for number, _ in ranked])
    return [Ranked(id=number, name=names.get(number), **amount._asdict()) for number, amount in ranked]


def period(session: Session, node: NodeId, from_ms: int, to_ms: int) -> Amount | None:
    """What was moved over a node in its period, and since ever where it has none; None if that is unknown."""
    if not from_ms:
        return history.life(session, node)
    try:
        hours = history.of_endpoints(
            session, endpoints.factors(session, node).keys(), rules.span(from_ms, to_ms)
        )
    except UnusableError:
        return None
    return rules.total(hours.values())


def copied(session: Session, now_ms: int, stuck: frozenset[int]) -> Batch | Stuck | None:
    """Write the next rows of a month that is over to its file, but for months that are stuck.

    What was written counts only once `moved` has been committed.
    """
    try:
        return archive.copied(session, rules.month_of(now_ms // rules.HOUR_MS), BATCH, stuck)
    except UnusableError as error:
        return Stuck(error.month, rules.month_name(error.month), error.reason)


def moved(session: Session, batch: Batch) -> bool:
    """Let the month's file have what was copied; False when it must be copied again."""
    return archive.moved(session, batch)


def prepared(session: Session, now_ms: int) -> None:
    """Have the present month and the next one ready for their rows."""
    archive.prepare(session, rules.month_of(now_ms // rules.HOUR_MS))


def expired(session: Session, months: int, now_ms: int) -> bool:
    """Forget some of what is older than so many months; True when there may be more."""
    before = rules.oldest_kept(now_ms, months)
    return before is not None and archive.expire(session, before, BATCH)


def dropped(session: Session, months: int, now_ms: int) -> list[str]:
    """Delete the files of months that have expired; returns their names."""
    before = rules.oldest_kept(now_ms, months)
    return [] if before is None else archive.drop_files(session, before)


def _answer(question: Question, now_ms: int, read: Callable[[Span], Hours]) -> History:
    if fields := rules.wrong(question, now_ms):
        raise refusals.invalid(fields)
    span = rules.asked(question, now_ms)
    with _told():
        return rules.history(read(span), span, question.step, question.zone)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except UnusableError as error:
        raise refusals.Refused(refusals.Kind.UNAVAILABLE, str(error)) from error


def _top_users(session: Session, span: Span, order: Order, most: int) -> list[tuple[int, Amount]]:
    return history.top_users(session, span, order, most)


def _top_endpoints(session: Session, span: Span, order: Order, most: int) -> list[tuple[int, Amount]]:
    return rules.largest(history.by_endpoint(session, span).items(), order, most)


def _top_nodes(session: Session, span: Span, order: Order, most: int) -> list[tuple[int, Amount]]:
    owners = endpoints.owners(session)
    found: dict[NodeId, Amount] = {}
    for endpoint, amount in history.by_endpoint(session, span).items():
        node = owners[endpoint]
        found[node] = found.get(node, rules.NOTHING).plus(amount)
    return rules.largest(found.items(), order, most)


def _user_names(session: Session, wanted: list[int]) -> dict[int, str]:
    return {user.id: user.name for user in users.among(session, map(UserId, wanted)).values()}


_RANKINGS = {By.USER: _top_users, By.NODE: _top_nodes, By.ENDPOINT: _top_endpoints}
_NAMES: dict[By, Callable[[Session, list[int]], dict[int, str]]] = {
    By.USER: _user_names,
    By.NODE: nodes.names,
    By.ENDPOINT: endpoints.names,
}
