"""Reports: good rows are booked whatever the others are; what is no report is refused as a whole."""

import json

import pytest

from collector.fronts.rest import usage
from shared.names import MAX_REPORT_ROWS
from tests.collector.fronts.rig import Rig

PATH = "/api/v1/usage"

BAD_ROWS: list[object] = [
    "text",
    None,
    {},
    [],
    [1, 1],
    [1, 1, "7", 0],
    [1, 1, 1.5, 0],
    [1, 1, None, 0],
    [[1], 1, 0, 0],
    {"user": 1, "endpoint": 1, "up": 1, "down": 1},
]
ABSURD_ROWS: list[list[int]] = [
    [1, 1, -1, 0],
    [1, 1, 10**30, 0],
    [1, 1, 2**63, 0],
    [99, 1, 1, 1],
    [1, 99, 1, 1],
    [-1, 1, 1, 1],
    [10**40, -(10**40), 1, 1],
    [1, 1, 2**63 - 1, 0],
]


def _billed(rig: Rig, user: int) -> int:
    return int(rig.send("GET", f"/api/v1/users/{user}/usage", token=rig.admin()).json()["total"])


def test_a_report_is_booked_once_however_often_it_comes(rig: Rig) -> None:
    node = rig.joined()
    user = rig.user("ada", rig.endpoint(node.id))
    for _ in range(3):
        answer = rig.send("POST", PATH, {"ledger": "l", "rows": [[user, 1, 70, 30]]}, token=node.token)
        assert answer.json()["accepted"] == 1
    assert _billed(rig, user) == 100


@pytest.mark.parametrize("bad", [*BAD_ROWS, *ABSURD_ROWS], ids=str)
def test_a_bad_row_spoils_no_good_row_and_is_shown_with_its_reason(rig: Rig, bad: object) -> None:
    node = rig.joined()
    endpoint = rig.endpoint(node.id)
    ada, bob = rig.user("ada", endpoint), rig.user("bob", endpoint)
    report = {"ledger": "l", "rows": [[ada, endpoint, 7, 0], bad, [bob, endpoint, 0, 9]]}
    answer = rig.send("POST", PATH, report, token=node.token)
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 2
    assert [one["row"] for one in answer.json()["quarantined"]] == [1]
    assert answer.json()["quarantined"][0]["reason"]
    token = rig.admin()
    held = rig.send("GET", "/api/v1/quarantine", token=token).json()["quarantine"]
    assert len(held) == 1
    totals = [
        rig.send("GET", f"/api/v1/users/{one}/usage", token=token).json()["total"] for one in (ada, bob)
    ]
    assert totals == [7, 9]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"ledger": "l"}',
        b'{"rows": []}',
        b'{"ledger": 1, "rows": []}',
        b'{"ledger": "", "rows": []}',
        b'{"ledger": "l", "rows": {}}',
        b'{"ledger": "l", "rows": [[1,1,1,1]',
        b'{"ledger": "\xed\xa0\x80", "rows": []}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"ledger": "l", "rows": ' + b"[" * 100_000,
        json.dumps({"ledger": "x" * 200, "rows": []}).encode(),
        json.dumps({"ledger": "l", "rows": [], "epoch": 10**30}).encode(),
        json.dumps({"ledger": "l", "rows": [], "sequence": -1}).encode(),
        json.dumps({"ledger": "l", "rows": [], "returned": [[1, 1, 0, -(10**30)]]}).encode(),
        json.dumps({"ledger": "l", "rows": [], "held": [[1, 1, 0, -1]]}).encode(),
        json.dumps({"ledger": "l", "rows": [], "serial": -1}).encode(),
        json.dumps({"ledger": "l", "rows": [], "untold": 2**63}).encode(),
    ],
    ids=lambda content: content[:40],
)
def test_a_body_that_is_no_report_is_refused_as_a_whole(rig: Rig, content: bytes) -> None:
    node = rig.joined()
    headers = {"content-type": "application/json"}
    answer = rig.send("POST", PATH, content=content, headers=headers, token=node.token)
    assert answer.status_code == 400


def test_a_report_with_too_many_rows_is_refused(rig: Rig) -> None:
    node = rig.joined()
    rows = [[1, 1, 0, 0]] * (MAX_REPORT_ROWS + 1)
    answer = rig.send("POST", PATH, {"ledger": "l", "rows": rows}, token=node.token)
    assert answer.status_code == 400
    assert str(MAX_REPORT_ROWS) in answer.json()["detail"]


def test_what_a_node_is_asked_for_counts_as_rows(rig: Rig) -> None:
    node = rig.joined()
    held = [[1 + number, 1, 0, 10**15, 10**15, 10**15] for number in range(MAX_REPORT_ROWS)]
    report = {"ledger": "l", "rows": [], "held": held, "serial": 5, "learning": 6}
    assert rig.send("POST", PATH, report, token=node.token).status_code == 200
    report["rows"] = [[1, 1, 0, 0]]
    answer = rig.send("POST", PATH, report, token=node.token)
    assert answer.status_code == 400
    assert str(MAX_REPORT_ROWS) in answer.json()["detail"]


def test_the_largest_report_fits(rig: Rig) -> None:
    node = rig.joined()
    rows = [[10**9 + number, 10**9, 10**15, 10**15] for number in range(MAX_REPORT_ROWS)]
    answer = rig.send("POST", PATH, {"ledger": "l" * 64, "rows": rows}, token=node.token)
    assert answer.status_code == 200


def test_unknown_fields_of_a_newer_agent_are_ignored() -> None:
    rows = usage.decode(b'{"ledger": "l", "rows": [[1, 2, 3, 4, 5]], "news": {"a": [1]}}')
    assert [(place, row.user, row.down) for place, row in rows.rows] == [(0, 1, 4)]


def test_a_user_over_quota_is_named_in_the_answer(rig: Rig) -> None:
    node, token = rig.joined(), rig.admin()
    endpoint = rig.endpoint(node.id)
    body = {"name": "ada", "quota_bytes": 100, "endpoints": [endpoint]}
    user = rig.send("POST", "/api/v1/users", body, token=token).json()["id"]
    report = {"ledger": "l", "rows": [[user, endpoint, 60, 60]]}
    answer = rig.send("POST", PATH, report, token=node.token)
    assert answer.json()["stopped"] == [user]
