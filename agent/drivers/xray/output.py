"""What Xray wrote, and what it says about a failure.

What always holds: text that leaves here has no client address in it and is short.
"""

import re
import signal

_VERSION = re.compile(r"(?:Xray|(V2Ray)) (\d+\.\d+\.\d+\S*) started")
_ADDRESS = re.compile(r"\[?[0-9a-fA-F]*(?::[0-9a-fA-F]*){2,}(?:%\w+)?\]?|\d{1,3}(?:\.\d{1,3}){3}")
_STAMP = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)? ")
_TELLING = ("panic:", "fatal error:", "Failed to start:", "main: failed", "SIGSEGV:", "SIGBUS:", "SIGABRT:")
_LINES = 3
_MAX_LINE = 300
_BY_SIGNAL = 128
_COULD_NOT = 255

#: Exit statuses of Xray (main/run.go), which the Python package gives without a word, and of the host.
_MEANING = {
    0: "it was told to end",
    23: "it refused its configuration",
    69: "there is no Xray that could be run",
    75: "another Xray still runs in this run directory",
    255: "it could not start, most often because a port or address cannot be had",
}


def version(text: str) -> str | None:
    """The version the core gave itself when it started; one of another core than Xray with its name."""
    found = _VERSION.search(text)
    return " ".join(part for part in found.groups() if part) if found else None


def reason(status: int | None, text: str, *, core: str = "Xray", memory: str | None = None) -> str:
    """Why the core ended, in one sentence; `status` is negative for a signal and None when not known.

    `memory` says, where that is known, that the kernel ended something for want of memory meanwhile.
    """
    number = ended_by(status)
    if status is None:
        how = f"{core} ended"
    elif number is not None:
        how = f"{core} was ended by signal {number}"
    else:
        meaning = f" ({_MEANING[status]})" if status in _MEANING else ""
        how = f"{core} ended with status {status}{meaning}"
    if memory and (status is None or number == signal.SIGKILL):
        how = f"{how}: {memory}"
    words = said(text)
    return f"{how}; its last words: {words}" if words else f"{how}; it said nothing"


def ended_by(status: int | None) -> int | None:
    """The signal that ended it; a core that was the child of its host left the number in the status."""
    if status is None or 0 <= status < _BY_SIGNAL or status == _COULD_NOT:
        return None
    return -status if status < 0 else status - _BY_SIGNAL


def failure(text: str) -> str:
    """What it said of a failure; empty when it said nothing of one."""
    lines = [_STAMP.sub("", line).strip() for line in text.splitlines()]
    return " / ".join(_clean(line) for line in lines if line.startswith(_TELLING))


def said(text: str) -> str:
    """What of its output tells most, in one line without addresses; empty when it said nothing."""
    lines = [_STAMP.sub("", line).strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(_TELLING)] or lines[-_LINES:]
    return " / ".join(map(_clean, telling[:_LINES]))


def _clean(line: str) -> str:
    return _ADDRESS.sub("[address]", line)[:_MAX_LINE]
