"""Reports of usage: one report is one transaction (rows H5, H7; design: Metering).

What always holds: meters, counters, verdicts, events and the nodes' new generation are one commit, and the
answer goes out after it; so a report that was not answered can be sent again. Most rows change nothing but
their meter and take the fast lane; what is said here of the careful way decides all the others.
"""

from collections.abc import Iterable, Mapping

from msgspec import structs

from collector.app import lending, phases
from collector.app import users as people
from collector.domain import lane, metering, refusals, standing
from collector.domain.access import SYSTEM
from collector.domain.changes import Change
from collector.domain.lane import Source
from collector.domain.metering import Charge, Known, Row
from collector.domain.quarantine import MAX_CONTENT, Cause, Held
from collector.domain.reports import Received
from collector.domain.users import Status, User
from collector.store import endpoints, leases, meters, nodes, quarantine, users
from collector.store.session import Session
from shared.messages import Quarantined, ReportAnswer, Usage
from shared.names import MAX_ID, QUARTER_MS, LedgerId, ManagerId, NodeId, UserId


def ingest(session: Session, node: NodeId, report: Received, now_ms: int) -> Change[ReportAnswer]:
    """Book a report and renew the leases of whom it names."""
    source = _own_ledger(session, report.ledger, node, now_ms)
    newest = leases.advance(session, source, report.order)
    rows, billed = _without_the_fast(session, source, report, now_ms)
    named = _named(rows, report)
    before = users.among(session, named) if named else {}
    charges, held = metering.charge(rows, _known(session, source, report.ledger, before), now_ms)
    meters.save(session, source, charges)
    moved, after = _charge(session, before, charges, now_ms)
    answers = _hold(session, node, report, held, now_ms)
    stopping = _roll_up(session, billed, after, charges, now_ms)
    lent = lending.renew(session, source, report if newest else None, after, now_ms)
    _admit(session, after)
    return Change(
        ReportAnswer(
            accepted=len(report.past) + len(report.rows) - len(held),
            quarantined=answers,
            stopped=sorted(number for number, user in after.items() if not user.served),
            leases=lent.value,
            epoch_seen=source.epoch,
        ),
        moved | lent.nodes,
        managers=stopping,
    )


def _own_ledger(session: Session, ledger: LedgerId, node: NodeId, now_ms: int) -> Source:
    source = meters.source(session, ledger, node, now_ms)
    if source.node != node:
        raise refusals.Refused(refusals.Kind.FORBIDDEN, "this ledger belongs to another node")
    return source


def _without_the_fast(
    session: Session, source: Source, report: Received, now_ms: int
) -> tuple[list[Row], dict[ManagerId, tuple[int, int]]]:
    """The rows that need thought, with the time of their bytes; the others are charged.

    Returns also what those were billed, by manager.
    """
    used_ms = metering.used_ms(report.quarter, now_ms)
    rows = [Row(place, row, metering.used_ms(quarter, now_ms)) for place, row, quarter in report.past]
    slow, billed = report.rows, {}
    if not rows and used_ms // QUARTER_MS == now_ms // QUARTER_MS:
        session.hot.expire(now_ms)
        meters.turn(session, source, meters.hour_of(now_ms))
        taken = lane.take(report.rows, source, session.hot.rooms, session.hot.managers, now_ms)
        meters.move(session, taken.moved)
        slow, billed = taken.careful, taken.billed
    return [*rows, *(Row(place, row, used_ms) for place, row in slow)], billed


def _named(rows: Iterable[Row], report: Received) -> set[UserId]:
    named = {row.usage.user for row in rows}
    named.update(report.unleased, (lease.user for lease in report.returned))
    return {user for user in named if 0 < user <= MAX_ID}


def _known(
    session: Session, source: Source, ledger: LedgerId, people_of_rows: Mapping[UserId, User]
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
    )


def _charge(
    session: Session, before: dict[UserId, User], charges: list[Charge], now_ms: int
) -> tuple[frozenset[NodeId], dict[UserId, User]]:
    after, ended = dict(before), []
    for one in charges:
        user = standing.advanced(after[one.key.user], one.at_ms)
        ended.append((after[one.key.user], user))
        after[one.key.user] = standing.charged(user, one.up, one.down, one.at_ms)
    for number, user in after.items():
        after[number] = standing.advanced(user, now_ms)
        ended.append((user, after[number]))
    ordered = [after[number] for number in sorted(after)]
    concerned = people.settle(session, before, ordered, ended, SYSTEM, now_ms)
    gone = users.removed_among(session, after)
    return concerned, {number: _as_served(user, number in gone) for number, user in after.items()}


def _as_served(user: User, removed: bool) -> User:  # noqa: FBT001 - the second half of a pair
    return structs.replace(user, status=Status.INACTIVE) if removed else user


def _roll_up(
    session: Session,
    billed: dict[ManagerId, tuple[int, int]],
    users_: Mapping[UserId, User],
    charges: Iterable[Charge],
    now_ms: int,
) -> bool:
    """Add what was billed to the managers above; tells whether users must be stopped or may go on."""
    for one in charges:
        manager = users_[one.key.user].manager
        if manager is not None:
            up, down = billed.get(manager, (0, 0))
            billed[manager] = (up + one.up, down + one.down)
    return bool(billed) and phases.charge(session, billed, now_ms)


def _admit(session: Session, after: Mapping[UserId, User]) -> None:
    """Let the next rows of whoever is served take the fast lane."""
    for user in after.values():
        if user.served:
            session.hot.admit(user.id, standing.room(user), user.due_ms, user.manager)


def _hold(
    session: Session, node: NodeId, report: Received, held: Iterable[metering.Held], now_ms: int
) -> list[Quarantined]:
    ledger = report.ledger
    answers: list[Quarantined] = []
    for one in held:
        answers.append(Quarantined(row=one.place, reason=one.reason))
        entry = _held(node, ledger, one.row, _content(one.row), one.cause, one.reason, now_ms)
        quarantine.hold(session, entry)
    for place, content in report.undecodable:
        reason = "the row is not [user, endpoint, up, down] in whole numbers"
        answers.append(Quarantined(row=place, reason=reason))
        quarantine.hold(session, _held(node, ledger, None, content, Cause.UNREADABLE, reason, now_ms))
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
