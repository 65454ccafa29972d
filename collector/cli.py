"""The collector's command line.

What always holds: an error is a line on standard error that says what to do (exit 1; wrong usage 2); a secret
is printed once, on standard output, and kept as a hash only. Commands work while the collector serves: it
notices their commits.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from collector import certificates, data_dir, passwords
from collector import main as program
from collector import settings as configuration
from collector.app import admins, enrolment, nodes, users
from collector.domain import names
from collector.domain.access import OPERATOR
from collector.domain.nodes import NewNode, Node, NodeChanges
from collector.domain.refusals import Refused
from collector.domain.users import User
from collector.fronts.rest.enrolments import TOKEN_PREFIX
from collector.settings import Settings
from collector.store.database import Database
from collector.store.session import Session
from shared.environment import SettingsError
from shared.names import UserId

_PAGE = 1000


class CommandError(Exception):
    """A command that cannot be carried out; the text says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; returns the exit status."""
    asked = _parser().parse_args(arguments)
    os.umask(0o077)
    try:
        asked.command(asked)
    except SettingsError as wrong:
        return _failed(wrong.problems)
    except (CommandError, program.StartError, data_dir.DataDirError, certificates.CertificateError) as failed:
        return _failed([str(failed)])
    except Refused as refused:
        return _failed([refused.detail, *(f"{name}: {what}" for name, what in refused.fields.items())])
    except OSError as error:
        return _failed([str(error)])
    return 0


def _failed(problems: list[str]) -> int:
    for problem in problems:
        sys.stderr.write(f"tidegate-collector: {problem}\n")
    return 1


# --- commands ----------------------------------------------------------------------------------------------


def _init(asked: argparse.Namespace) -> None:
    settings = _settings()
    path = settings.data_dir
    if wrong := names.wrong_name(asked.admin):
        raise CommandError(f"--admin: {wrong}")
    if data_dir.is_initialised(path):
        raise CommandError(
            f"{path} is initialised already; nothing was changed."
            " For a lost password there is `tidegate-collector admin password NAME`"
        )
    data_dir.prepare(path)
    with data_dir.locked(path):
        password = passwords.new_password()
        with contextlib.closing(program.open_database(settings, new=True, alone=True)) as data:
            if settings.database is not None and data.read_now(nodes.every):
                raise CommandError(
                    f"the PostgreSQL database {settings.database} belongs to a collector that has nodes:"
                    " restore that collector's data directory from a backup, or choose another database"
                )
            data.write_now(_first_admin, asked.admin, passwords.hash_password(password), program.now_ms())
        join = program.joining(settings)
        data_dir.make_key(path)
    told = {"username": asked.admin, "password": password, "ca_hash": join.ca_hash, "url": join.url}
    _tell(asked, {**told, "data_dir": str(path)}, _first_words(told, path))


def _first_admin(session: Session, name: str, password_hash: str, now_ms: int) -> None:
    # An init that was interrupted has made the admin but never showed the password.
    make = admins.create if admins.credentials(session, name) is None else admins.change_password
    make(session, name, password_hash, OPERATOR, now_ms)


def _first_words(told: dict[str, Any], path: Path) -> str:
    lines = [
        f"{path} is ready.",
        f"  admin     {told['username']}",
        f"  password  {told['password']}   (shown only now)",
        f"  url       {told['url']}",
    ]
    if told["ca_hash"]:
        lines.append(f"  CA        {told['ca_hash']}")
    return "\n".join([*lines, "Next: tidegate-collector serve"])


def _serve(_asked: argparse.Namespace) -> None:
    program.serve(_settings())


def _describe(_asked: argparse.Namespace) -> None:
    sys.stdout.write(program.document().decode() + "\n")


def _enroll_node(asked: argparse.Namespace) -> None:
    settings = _settings()
    data_dir.require_initialised(settings.data_dir)
    join = program.joining(settings)
    token = passwords.new_secret(TOKEN_PREFIX)
    with _opened(settings) as data:
        node = data.write_now(_mint, asked, settings, passwords.hash_secret(token), program.now_ms())
    command = join.command(token)
    told = {"node": node.id, "name": node.name, "token": token, "command": command, "ca_hash": join.ca_hash}
    _tell(asked, {**told, "expires_in": join.ttl_s}, command)
    if not asked.json:
        sys.stderr.write(f"Run this line on the node within {join.ttl_s} s; it works once.\n")


def _mint(
    session: Session, asked: argparse.Namespace, settings: Settings, token_hash: bytes, now_ms: int
) -> Node:
    node = nodes.find(session, asked.name)
    if node is None:
        new = NewNode(name=asked.name, region=asked.region or "", zone=settings.zone)
        node = nodes.create(session, new, OPERATOR, now_ms).value
    elif asked.region is not None:
        node = nodes.change(session, node.id, NodeChanges(region=asked.region), OPERATOR, now_ms).value
    enrolment.mint(session, node.id, token_hash, now_ms + settings.enrol_ttl_s * 1000, OPERATOR, now_ms)
    return node


def _list_nodes(asked: argparse.Namespace) -> None:
    settings = _settings()
    with _opened(settings) as data:
        found = data.read_now(nodes.every)
    now_ms = program.now_ms()
    rows = [
        {
            "id": node.id,
            "name": node.name,
            "region": node.region,
            "enrolled": node.enrolled,
            "revoked": node.revoked,
            "generation": node.generation,
            "acknowledged": node.acknowledged,
            "seen_s_ago": None if node.last_seen_ms is None else max(0, now_ms - node.last_seen_ms) // 1000,
        }
        for node in found
    ]
    _tell(asked, {"nodes": rows}, _table(rows, "no nodes yet: tidegate-collector node enroll NAME"))


def _revoke_node(asked: argparse.Namespace) -> None:
    settings = _settings()
    with _opened(settings) as data:
        node = data.write_now(_revoke, asked.name, program.now_ms())
    told = {"node": node.id, "name": node.name}
    _tell(asked, told, f"{node.name} is revoked; `node enroll {node.name}` brings it back")


def _revoke(session: Session, name: str, now_ms: int) -> Node:
    node = nodes.find(session, name)
    if node is None:
        raise CommandError(f"there is no node named {name}; `tidegate-collector node list` shows them")
    return nodes.revoke(session, node.id, OPERATOR, now_ms).value


def _list_users(asked: argparse.Namespace) -> None:
    settings = _settings()
    with _opened(settings) as data:
        found = data.read_now(_every_user)
    rows = [
        {
            "id": user.id,
            "name": user.name,
            "status": user.status.value,
            "reason": user.reason,
            "total_bytes": user.total_bytes,
            "quota_bytes": user.quota_bytes,
        }
        for user in found
    ]
    _tell(asked, {"users": rows}, _table(rows, "no users yet"))


def _every_user(session: Session) -> list[User]:
    found = users.page(session, UserId(0), _PAGE)
    while len(found) % _PAGE == 0 and (more := users.page(session, found[-1].id, _PAGE) if found else []):
        found += more
    return found


def _change_password(asked: argparse.Namespace) -> None:
    settings = _settings()
    password = passwords.new_password()
    with _opened(settings) as data:
        data.write_now(
            admins.change_password, asked.name, passwords.hash_password(password), OPERATOR, program.now_ms()
        )
    told = {"username": asked.name, "password": password}
    _tell(asked, told, f"The new password of {asked.name}, shown only now: {password}")


# --- what commands share -----------------------------------------------------------------------------------


def _settings() -> Settings:
    return configuration.read(os.environ)


def _opened(settings: Settings) -> contextlib.closing[Database]:
    data_dir.require_initialised(settings.data_dir)
    return contextlib.closing(program.open_database(settings))


def _tell(asked: argparse.Namespace, told: Mapping[str, Any], words: str) -> None:
    sys.stdout.write((json.dumps(told) if asked.json else words) + "\n")


def _table(rows: list[dict[str, Any]], nothing: str) -> str:
    if not rows:
        return nothing
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None or value == "" else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tidegate-collector",
        description="Holds users, quotas and nodes; settings come from TIDEGATE_COLLECTOR_... variables.",
    )
    nouns = parser.add_subparsers(required=True, metavar="COMMAND")
    init = _command(nouns, "init", _init, "make the data directory, the keys and the first admin")
    init.add_argument("--admin", default="admin", metavar="NAME", help="name of the first admin")
    _command(nouns, "serve", _serve, "serve the API")
    _command(nouns, "openapi", _describe, "print the OpenAPI document")
    node = _noun(nouns, "node", "nodes")
    enroll = _named(node, "enroll", _enroll_node, "print the line that makes a server a node")
    enroll.add_argument("--region", help="where the node is")
    _command(node, "list", _list_nodes, "show all nodes")
    _named(node, "revoke", _revoke_node, "void a node's credential")
    _command(_noun(nouns, "user", "users"), "list", _list_users, "show all users")
    _named(_noun(nouns, "admin", "admins"), "password", _change_password, "give an admin a new password")
    return parser


def _noun(parsers: Any, name: str, about: str) -> Any:  # noqa: ANN401 - argparse keeps this type private
    return parsers.add_parser(name, help=about).add_subparsers(required=True, metavar="COMMAND")


def _command(
    parsers: Any,  # noqa: ANN401 - argparse keeps this type private
    name: str,
    command: Callable[[argparse.Namespace], None],
    about: str,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = parsers.add_parser(name, help=about, description=about)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=command)
    return parser


def _named(
    parsers: Any,  # noqa: ANN401 - argparse keeps this type private
    name: str,
    command: Callable[[argparse.Namespace], None],
    about: str,
) -> argparse.ArgumentParser:
    parser = _command(parsers, name, command, about)
    parser.add_argument("name", metavar="NAME")
    return parser


if __name__ == "__main__":
    sys.exit(main())
