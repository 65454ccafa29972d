"""`tidegate-agent`: enroll, run, status, check. Errors are one line each on standard error.

Exit status: 0 done, 1 it could not be done, 2 the command line is wrong, 130 interrupted.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from agent import identity, inspection, ledger, lock, release
from agent import settings as configuration
from agent.settings import Settings
from shared import environment, logs

#: As shells tell of a program that SIGINT ended.
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    chosen = _parser().parse_args(arguments)
    try:
        settings = configuration.load(os.environ)
    except environment.SettingsError as error:
        return _fail(*error.problems)
    command: Callable[[argparse.Namespace, Settings], int] = chosen.command
    try:
        return command(chosen, settings)
    except OSError as error:
        return _fail(f"{error.filename or 'a file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        return _INTERRUPTED


def _enroll(chosen: argparse.Namespace, settings: Settings) -> int:
    from agent import enrolment  # noqa: PLC0415 - asyncio, which status does without

    try:
        pin = None if chosen.ca_hash is None else enrolment.ca_hash(chosen.ca_hash)
    except ValueError as error:
        print(f"tidegate-agent enroll: --ca-hash: {error}", file=sys.stderr)  # noqa: T201 - the answer
        return 2
    try:
        with lock.held(settings.lock_file):
            mine = enrolment.enroll(chosen.url, chosen.token, pin, settings.state_dir, force=chosen.force)
    except (enrolment.EnrolmentError, lock.OccupiedError) as error:
        return _fail(str(error))
    _say(f"enrolled as node {mine.node} ({mine.name}); now start it: tidegate-agent run")
    return 0


def _run(_: argparse.Namespace, settings: Settings) -> int:
    from agent import lean  # noqa: PLC0415 - only what runs long has to stay small

    lean.stay()
    from agent import link, main  # noqa: PLC0415 - everything, which the other commands do without

    logs.configure(settings.log_level)
    # It would tell every header of every call to Xray, and what Xray refuses may name a credential.
    logging.getLogger("hpack").setLevel(logging.INFO)
    try:
        main.run(settings)
    except (
        identity.IdentityError,
        ledger.LedgerError,
        lock.OccupiedError,
        link.LinkProblem,
        ValueError,
    ) as error:
        return _fail(str(error))
    return 0


def _status(chosen: argparse.Namespace, settings: Settings) -> int:
    try:
        mine = identity.load(settings.state_dir)
    except identity.IdentityError as error:
        return _fail(str(error))
    known: dict[str, object] = {"node": mine.node, "name": mine.name, "collector": mine.url}
    path = settings.state_dir / ledger.FILE_NAME
    if not path.exists():
        known["ledger"] = None
    else:
        try:
            known |= inspection.peek(path)
        except ledger.LedgerError as error:
            return _fail(str(error))
    known["running"] = _is_held(settings.lock_file)
    _show(known, as_json=chosen.json)
    return 0


def _check(chosen: argparse.Namespace, settings: Settings) -> int:
    from agent import main  # noqa: PLC0415 - the drivers, which status does without

    problems: list[str] = []
    try:
        identity.load(settings.state_dir)
    except identity.IdentityError as error:
        problems.append(str(error))
    try:
        limitations = [limit for driver in main.drivers(settings) for limit in driver.limitations]
    except ValueError as error:
        limitations = []
        problems.append(str(error))
    if settings.state_dir.exists() and not os.access(settings.state_dir, os.W_OK):
        problems.append(f"{settings.state_dir} cannot be written by this user")
    found: dict[str, object] = {
        "version": release.VERSION,
        "state_dir": str(settings.state_dir),
        "run_dir": str(settings.run_dir),
        "xray": str(settings.xray_binary or "of the Python package"),
        "limitations": limitations,
        "problems": problems,
        "ok": not problems,
    }
    _show(found, as_json=chosen.json)
    return 1 if problems else 0


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with lock.held(path, patience_s=0.0):
            return False
    except lock.OccupiedError:
        return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tidegate-agent", description="Serves users on this node.")
    parser.add_argument("--version", action="version", version=f"tidegate-agent {release.VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    enroll = commands.add_parser("enroll", help="join a fleet with a one-time token")
    enroll.add_argument("url", metavar="URL", help="the collector: https://host[:port]")
    enroll.add_argument("token", metavar="TOKEN", help="the one-time token")
    enroll.add_argument(
        "--ca-hash", metavar="sha256:HEX", help="trust the CA that has this hash, and no other"
    )
    enroll.add_argument("--force", action="store_true", help="replace this node's identity")
    enroll.set_defaults(command=_enroll)
    commands.add_parser("run", help="serve until stopped").set_defaults(command=_run)
    for name, command, about in (
        ("status", _status, "what this node holds"),
        ("check", _check, "whether this machine can do the work"),
    ):
        added = commands.add_parser(name, help=about)
        added.add_argument("--json", action="store_true", help="one JSON object")
        added.set_defaults(command=command)
    return parser


def _show(known: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        _say(json.dumps(known))
        return
    for name, value in known.items():
        lines = value if isinstance(value, list) else [value]
        for line in lines:
            _say(f"{name.replace('_', ' ')}: {'-' if line is None else line}")


def _say(line: str) -> None:
    print(line)  # noqa: T201 - the command's answer


def _fail(*problems: str) -> int:
    for problem in problems:
        print(f"tidegate-agent: {problem}", file=sys.stderr)  # noqa: T201 - the answer
    return 1


if __name__ == "__main__":
    sys.exit(main())
