"""Log lines: one JSON object each, without secrets."""

import json
import logging

from shared import logs


def _line(**fields: object) -> dict[str, object]:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "happened", None, None)
    record.fields = fields
    text = logs.Lines().format(record)
    assert "\n" not in text
    return dict(json.loads(text))


def test_a_line_names_its_event_and_fields() -> None:
    line = _line(user=7, took_ms=1.5)
    assert line["event"] == "happened"
    assert line["level"] == "info"
    assert (line["user"], line["took_ms"]) == (7, 1.5)
    assert str(line["at"]).endswith("Z")


def test_values_that_carry_secrets_are_redacted_whoever_logs_them() -> None:
    line = _line(client_secret="s3", Password="p", access_token="t", uuid="u", note="fine")
    assert [line[name] for name in ("client_secret", "Password", "access_token", "uuid")] == [
        "[redacted]"
    ] * 4
    assert line["note"] == "fine"


def test_a_line_break_in_a_value_makes_no_second_line() -> None:
    assert _line(reason="a\nb")["reason"] == "a\nb"
