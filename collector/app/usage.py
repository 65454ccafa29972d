"""Reports of usage: one report is one transaction (rows H5, H7; design: Metering).

What always holds: meters, counters, verdicts, events and the nodes' new generation are one commit, and the
answer goes out after it; so a report that was not answered can be sent again. Its bytes are booked in the
order of their time. Most rows change nothing but their meter and take the fast lane; the careful way decides
all the others.
"""

from collections.abc import Iterable, Mapping

from msgspec import structs

from collector.app import admission, learning, lending, phases
from collector.app import quarantine as held_rows
from collector.app import users as people
from collector.domain import booking, lane, metering, refusals, standing
from collector.domain.access import SYSTEM
from collector.domain.booking import Books
from collector.domain.changes import Change
from collector.domain.lane import Source
from collector.domain.metering import Known, Row
from collector.domain.quarantine import MAX_CONTENT, Cause, Held
from collector.domain.reports import Received
from collector.domain.users import Status, User
from collector.store import endpoints, leases, meters, nodes, quarantine, users
from collector.store.session import Session
from shared.messages import Quarantined, ReportAnswer, Usage
from shared.names import MAX_ID, LedgerId, NodeId, UserId

#: Bytes told within this time of their use may take the fast lane.
_RECENT_MS = 3_600_000


def ingest(session: Session, node: NodeId, report: Received, now_ms: int) -> Change[ReportAnswer]:
    """Book a report and renew the leases of whom it names."""
    source = _own_ledger(session, report.ledger, node, now_ms)
    newest = leases.advance(session, source, report.order)
    books = Books()
    session.hot.expire(now_ms)
    for at_ms, rows in booking.by_time(report, now_ms):
        _book(session, source, report.ledger, books, rows, at_ms, now_ms)
        books.booked_ms = at_ms
    meters.move(session, booking.moved(books))
    _know(session, books, [*report.unleased, *(lease.user for lease in report.returned)])
    booking.finish(books, now_ms)
    moved, after = _settle(session, books, now_ms)
    answers = _hold(session, source, report, books.held, now_ms)
    stopping = phases.charge_by_time(session, books.billed, now_ms)
    if newest:
        learning.hear(session, source, report.word, now_ms)
    lent = lending.renew(session, source, report if newest else None, after, now_ms)
    _admit(session, after)
    return Change(
        ReportAnswer(
            accepted=len(report.past) + len(report.rows) - len(books.held),
            quarantined=answers,
            stopped=sorted(number for number, user in after.items() if not user.served),
            leases=lent.value,
            epoch_seen=source.epoch,
            serial=source.serial,
            # Part of an answer that came out of order was not taken: the node is to begin again.
            learning=(source.learning_ms or 0) if newest else 0,
        ),
        moved | lent.nodes,
        managers=stopping,
    )


def _own_ledger(session: Session, ledger: LedgerId, node: NodeId, now_ms: int) -> Source:
    source = meters.source(session, ledger, node, now_ms)
    if source.node != node:
        raise refusals.Refused(refusals.Kind.FORBIDDEN, "this ledger belongs to another node")
    return source


def _book(
    session: Session,
    source: Source,
    ledger: LedgerId,
    books: Books,
    rows: list[tuple[int, Usage]],
    at_ms: int,
    now_ms: int,
) -> None:
    """Charge the rows whose bytes were used by one moment."""
    if (hour := meters.hour_of(at_ms)) > source.hour:
        meters.move(session, booking.moved(books))
        meters.turn(session, source, hour)
    careful = _take(session, source, books, rows, at_ms, now_ms)
    if careful:
        # What follows reads meters from the database.
        meters.move(session, booking.moved(books))
        if admission.readmit(session, source, careful, now_ms):
            careful = _take(session, source, books, careful, at_ms, now_ms)
    if careful:
        meters.move(session, booking.moved(books))
        _book_carefully(session, source, ledger, books, [Row(*one, at_ms) for one in careful], now_ms)


def _take(
    session: Session,
    source: Source,
    books: Books,
    rows: list[tuple[int, Usage]],
    at_ms: int,
    now_ms: int,
) -> list[tuple[int, Usage]]:
    """Charge the rows that may take the fast lane; returns the others, in their order."""
    if at_ms < now_ms - _RECENT_MS:
        return rows
    after = books.after
    quick = [placed for placed in rows if placed[1].user not in after] if after else rows
    taken = lane.take(quick, source, session.hot.people, at_ms, now_ms)
    if taken.moved:
        session.hot.touch()
        books.moved.append(taken.moved)
    booking.add_up(books, taken.billed, at_ms)
    return taken.careful if quick is rows else _others(rows, quick, taken.careful)


def _others(
    rows: list[tuple[int, Usage]], quick: list[tuple[int, Usage]], careful: list[tuple[int, Usage]]
) -> list[tuple[int, Usage]]:
    done = {place for place, _ in quick} - {place for place, _ in careful}
    return [placed for placed in rows if placed[0] not in done]


def _book_carefully(
    session: Session, source: Source, ledger: LedgerId, books: Books, rows: list[Row], now_ms: int
) -> None:
    named = {row.usage.user for row in rows}
    _know(session, books, named)
    concerned = {user: one for user, one in books.after.items() if user in named}
    known = _known(session, source, ledger, concerned, books.booked_ms)
    charges, held = metering.charge(rows, known, now_ms)
    meters.save(session, source, charges)
    booking.charge(books, charges, held)


def _know(session: Session, books: Books, wanted: Iterable[UserId]) -> None:
    """Read the users who are not in the books yet, those of them who exist."""
    new = {user for user in wanted if 0 < user <= MAX_ID} - books.before.keys()
    if new:
        booking.open_for(books, users.among(session, new))


def _known(
    session: Session, source: Source, ledger: LedgerId, people_of_rows: Mapping[UserId, User], floor_ms: int
) -> Known:
    reporter = nodes.require(session, NodeId(source.node))
    return Known(
        seen=meters.seen(session, source.number, people_of_rows),
        users=people_of_rows.keys(),
        placed=endpoints.placed(session, people_of_rows),
        factors=endpoints.factors(session, reporter.id),
        quarantined=quarantine.waiting(session, ledger),
        since_ms=reporter.enrolled_ms or reporter.created_ms,
        link_mbps=reporter.link_mbps,
        floor_ms=floor_ms,
    )


def _settle(session: Session, books: Books, now_ms: int) -> tuple[frozenset[NodeId], dict[UserId, User]]:
    """Keep what became of the users in the books; returns whom it concerns, and the users as served."""
    ordered = [books.after[number] for number in sorted(books.after)]
    concerned = people.settle(session, books.before, ordered, books.steps, SYSTEM, now_ms)
    gone = users.removed_among(session, books.after) if books.after else set()
    return concerned, {number: _as_served(user, number in gone) for number, user in books.after.items()}


def _as_served(user: User, removed: bool) -> User:  # noqa: FBT001 - the second half of a pair
    return structs.replace(user, status=Status.INACTIVE) if removed else user


def _admit(session: Session, after: Mapping[UserId, User]) -> None:
    """Let the next rows of whoever is served take the fast lane."""
    for user in after.values():
        if user.served:
            room = standing.room(user)
            session.hot.admit(user.id, room, user.manager, user.due_ms, user.period_start_ms)


def _hold(
    session: Session, source: Source, report: Received, held: Iterable[metering.Held], now_ms: int
) -> list[Quarantined]:
    node, ledger = NodeId(source.node), report.ledger
    answers: list[Quarantined] = []
    for one in held:
        answers.append(Quarantined(row=one.place, reason=one.reason))
        # What waits for a decision is waited for, whoever else his rows come from.
        session.hot.forget_meter(source, one.row.user, one.row.endpoint)
        entry = _held(node, ledger, one.row, _content(one.row), one.cause, one.reason, now_ms)
        held_rows.hold(session, entry, now_ms)
    for place, content in report.undecodable:
        reason = "the row is not [user, endpoint, up, down] in whole numbers"
        answers.append(Quarantined(row=place, reason=reason))
        entry = _held(node, ledger, None, content, Cause.UNREADABLE, reason, now_ms)
        held_rows.hold(session, entry, now_ms)
    return sorted(answers, key=lambda answer: answer.row)


def _content(row: Usage) -> str:
    return f"[{row.user}, {row.endpoint}, {row.up}, {row.down}]"


def _held(
    node: NodeId, ledger: LedgerId, row: Usage | None, content: str, cause: Cause, reason: str, now_ms: int
) -> Held:
    return Held(
        id=0,
        node=node,
        ledger=ledger,
        user=row.user if row else None,
        endpoint=row.endpoint if row else None,
        up=row.up if row else None,
        down=row.down if row else None,
        content=content[:MAX_CONTENT],
        cause=cause,
        reason=reason,
        first_ms=now_ms,
        last_ms=now_ms,
        seen_count=1,
        decision=None,
    )
