"""One log line is one JSON object on standard error (row T11).

What always holds: a line has `at`, `level`, `event` and flat fields; nothing is formatted into the event's
name, so lines can be searched by it. Values of fields that carry secrets are replaced, whoever logs them.
"""

import datetime
import json
import logging
import sys

_SECRET_WORDS = ("secret", "password", "token", "authorization", "private_key", "uuid")
_REDACTED = "[redacted]"


class Lines(logging.Formatter):
    """Turns a record into one line; `extra={"fields": {...}}` carries the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object without line breaks."""
        moment = datetime.datetime.fromtimestamp(record.created, tz=datetime.UTC)
        line: dict[str, object] = {
            "at": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields = getattr(record, "fields", {})
        line |= {name: _shown(name, value) for name, value in fields.items()}
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str) -> None:
    """Send every log of this process to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def event(logger: logging.Logger, level: int, name: str, **fields: object) -> None:
    """Log one event with its fields."""
    logger.log(level, name, extra={"fields": fields})


def _shown(name: str, value: object) -> object:
    return _REDACTED if any(word in name.lower() for word in _SECRET_WORDS) else value
