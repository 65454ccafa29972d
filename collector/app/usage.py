"""Reports of usage: one report is one transaction (rows H5, H7; design: Metering).

What always holds: meters, counters, verdicts, events and the nodes' new generation are one commit, and the
answer goes out after it; so a report that was not answered can be sent again.
"""

from collections.abc import Iterable

from msgspec import structs

from collector.app import lending
from collector.app import users as people
from collector.domain import metering, refusals, standing
from collector.domain.access import SYSTEM
from collector.domain.changes import Change
from collector.domain.metering import Charge, Known
from collector.domain.quarantine import MAX_CONTENT, Cause, Held
from collector.domain.reports import Received
from collector.domain.users import Status, User
from collector.store import endpoints, meters, nodes, quarantine, users
from collector.store.meters import Ledger
from collector.store.session import Session
from shared.messages import Quarantined, ReportAnswer, Usage
from shared.names import MAX_ID, LedgerId, NodeId, UserId


def ingest(session: Session, node: NodeId, report: Received, now_ms: int) -> Change[ReportAnswer]:
    """Book a report and renew the leases of whom it names."""
    source = _own_ledger(session, report.ledger, node, now_ms)
    people_of_rows = users.among(session, _named(report))
    known = _known(session, node, report.ledger, source, people_of_rows)
    charges, held = metering.charge(report.rows, known, now_ms)
    meters.save(session, source.number, charges, now_ms)
    moved, charged = _charge(session, people_of_rows, charges, now_ms)
    answers = _hold(session, node, report, held, now_ms)
    lent = lending.renew(session, source, report, charged, now_ms)
    return Change(
        ReportAnswer(
            accepted=len(report.rows) - len(held),
            quarantined=answers,
            stopped=sorted(number for number, user in charged.items() if not user.served),
            leases=lent.value,
            epoch_seen=max(source.epoch, report.order[0]),
        ),
        moved | lent.nodes,
    )


def _named(report: Received) -> set[UserId]:
    named = {row.user for _, row in report.rows}
    named.update(report.unleased, (lease.user for lease in report.returned))
    return {user for user in named if 0 < user <= MAX_ID}


def _own_ledger(session: Session, ledger: LedgerId, node: NodeId, now_ms: int) -> Ledger:
    source = meters.ledger(session, ledger, node, now_ms)
    if source.node != node:
        raise refusals.Refused(refusals.Kind.FORBIDDEN, "this ledger belongs to another node")
    return source


def _known(
    session: Session, node: NodeId, ledger: LedgerId, source: Ledger, people_of_rows: dict[UserId, User]
) -> Known:
    reporter = nodes.require(session, node)
    return Known(
        seen=meters.seen(session, source.number, people_of_rows),
        users=people_of_rows,
        factors=endpoints.factors(session, node),
        quarantined=quarantine.waiting(session, ledger),
        since_ms=reporter.enrolled_ms or reporter.created_ms,
        link_mbps=reporter.link_mbps,
    )


def _charge(
    session: Session, before: dict[UserId, User], charges: list[Charge], now_ms: int
) -> tuple[frozenset[NodeId], dict[UserId, User]]:
    after = {number: standing.advanced(user, now_ms) for number, user in before.items()}
    for one in charges:
        after[one.key.user] = standing.charged(after[one.key.user], one.up, one.down, now_ms)
    concerned = people.settle(session, before, (after[number] for number in sorted(after)), SYSTEM, now_ms)
    gone = users.removed_among(session, after)
    return concerned, {number: _as_served(user, number in gone) for number, user in after.items()}


def _as_served(user: User, removed: bool) -> User:  # noqa: FBT001 - the second half of a pair
    return structs.replace(user, status=Status.INACTIVE) if removed else user


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
