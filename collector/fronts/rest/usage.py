"""Reports of usage, from nodes.

What always holds: a row that cannot be decoded spoils no other row; a body that is no report is refused as a
whole and nothing of it is booked.
"""

from collections.abc import Iterator

import msgspec

from collector.app import usage
from collector.domain.learning import Word
from collector.domain.reports import Received
from collector.fronts.rest import bodies, problems, routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route
from shared.messages import Lease, Past, Report, ReportAnswer, Usage
from shared.names import MAX_BYTES, MAX_REPORT_ROWS, LedgerId, UserId

_MAX_BYTES = 2 * 1024 * 1024
_MAX_LEDGER = 128
#: What is passed on of a row that could not be decoded, for an admin to look at.
_SHOWN_CHARACTERS = 200

_REPORTS = msgspec.json.Decoder(Report)
_ROWS = msgspec.json.Decoder(Usage)


class _Loose(msgspec.Struct, frozen=True):
    """A report as far as it must be right for any of its rows to count."""

    ledger: LedgerId
    rows: list[msgspec.Raw]
    quarter: int = 0
    past: list[Past] = []
    epoch: int = 0
    sequence: int = 0
    returned: tuple[Lease, ...] = ()
    unleased: tuple[UserId, ...] = ()
    serial: int = 0
    learning: int = 0
    held: tuple[Lease, ...] = ()
    held_after: int = 0
    untold: int = 0


_LOOSE = msgspec.json.Decoder(_Loose)


async def ingest(parts: Parts, call: Call[bytes]) -> ReportAnswer:
    """Book a report when it is its turn; the answer goes out after the commit."""
    async with parts.reports.one(call.hung_up):
        return await parts.change(usage.ingest, call.node, decode(call.body), parts.now_ms())


def decode(content: bytes) -> Received:
    """The rows of a report. Raises Rejected when it is none."""
    try:
        report = _decoded(content)
    except msgspec.ValidationError as wrong:
        raise problems.malformed(f"this is not a report of usage: {wrong}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise bodies.not_json() from None
    if not 1 <= len(report.ledger) <= _MAX_LEDGER:
        raise problems.malformed(f"use 1 to {_MAX_LEDGER} characters", {"ledger": "wrong length"})
    if not all(0 <= number <= MAX_BYTES for number in _numbers(report)):
        raise problems.malformed(
            f"use numbers from 0 to {MAX_BYTES} for the order, the time, serials and leases"
        )
    rows = len(report.past) + len(report.rows) + len(report.undecodable) + len(report.word.held)
    if rows > MAX_REPORT_ROWS:
        raise problems.malformed(f"send at most {MAX_REPORT_ROWS} rows in one report")
    return report


def _numbers(report: Received) -> Iterator[int]:
    yield from report.order
    yield report.quarter
    yield from (quarter for _, _, quarter in report.past)
    yield from (report.word.serial, report.word.learning, report.word.after, report.word.untold)
    for lease in (*report.returned, *report.word.held):
        yield from (one for one in (lease.total, lease.up, lease.down) if one is not None)


def _decoded(content: bytes) -> Received:
    try:
        report = _REPORTS.decode(content)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return _row_by_row(_LOOSE.decode(content))
    return _received(report, list(enumerate(report.rows, len(report.past))), [])


def _row_by_row(report: _Loose) -> Received:
    rows: list[tuple[int, Usage]] = []
    undecodable: list[tuple[int, str]] = []
    for place, raw in enumerate(report.rows, len(report.past)):
        try:
            rows.append((place, _ROWS.decode(raw)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            undecodable.append((place, bytes(raw)[:_SHOWN_CHARACTERS].decode("utf-8", "replace")))
    return _received(report, rows, undecodable)


def _received(
    report: Report | _Loose, rows: list[tuple[int, Usage]], undecodable: list[tuple[int, str]]
) -> Received:
    return Received(
        ledger=report.ledger,
        rows=rows,
        undecodable=undecodable,
        past=[
            (place, Usage(row.user, row.endpoint, row.up, row.down), row.quarter)
            for place, row in enumerate(report.past)
        ],
        quarter=report.quarter,
        order=(report.epoch, report.sequence),
        returned=tuple(report.returned),
        unleased=tuple(report.unleased),
        word=Word(report.serial, report.learning, tuple(report.held), report.held_after, report.untold),
    )


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/usage",
        handler=ingest,
        roles=routes.NODES,
        summary="Report absolute totals; rows that cannot be right are quarantined, the others are billed.",
        body=Report,
        max_bytes=_MAX_BYTES,
        decode=bytes,  # decoded when its turn has come
        answer=ReportAnswer,
    ),
)
