"""The rules of the house, each with its reason: imports run one way, files and functions stay small."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("agent", "collector", "shared")
GENERATED = ("_pb2.py", "migrations/")
#: Words that say nothing of what is in a file.
DRAWERS = {"utils", "common", "helpers", "models", "services", "misc", "lib"}


@dataclass(frozen=True)
class Rule:
    """Modules below `room` import only from these, besides the standard library and their own room."""

    room: str
    allowed: tuple[str, ...]
    because: str


RULES = (
    Rule("shared", ("msgspec", "jwt"), "the contract depends on neither program"),
    Rule(
        "agent.core",
        ("shared", "msgspec"),
        "decisions are pure, so that they can be tested for every input",
    ),
    Rule(
        "agent.drivers",
        ("agent.core", "shared", "hpack", "google.protobuf", "pyroute2", "xray", "psutil", "msgspec"),
        "a driver knows its core program and nothing of the collector",
    ),
    Rule(
        "agent.loops",
        (
            *("agent.core", "agent.drivers.base", "agent.ledger", "agent.link", "agent.release"),
            *("shared", "psutil"),
        ),
        "a loop works with any driver",
    ),
    Rule(
        "collector.domain",
        ("shared", "msgspec", "cryptography.hazmat.primitives.asymmetric.x25519"),
        "decisions are pure; msgspec declares their values; a public key is a function of the private one",
    ),
    Rule(
        "collector.store",
        ("collector.domain", "shared", "peewee", "playhouse", "psycopg", "msgspec"),
        "only the store knows the database",
    ),
    Rule(
        "collector.app",
        ("collector.store", "collector.domain", "shared", "msgspec"),
        "what can be asked does not depend on who asks",
    ),
    Rule("collector.tasks", ("collector.app", "collector.domain", "shared"), "tasks ask as fronts do"),
)
#: Standard modules that reach the world: not for pure rooms.
IMPURE = {
    *("asyncio", "logging", "os", "pathlib", "random", "secrets", "socket", "sqlite3", "subprocess"),
    *("threading", "time"),
}
PURE_ROOMS = ("agent.core", "collector.domain")


def _sources() -> list[Path]:
    found = [path for program in PROGRAMS for path in (ROOT / program).rglob("*.py")]
    return sorted(path for path in found if not any(word in path.as_posix() for word in GENERATED))


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _below(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.room)
def test_a_room_imports_only_what_its_rule_allows(rule: Rule) -> None:
    wrong = [
        f"{_module(path)} imports {name}: {rule.because}"
        for path in _sources()
        if _below(_module(path), rule.room)
        for name in _imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names
        and not any(_below(name, room) for room in (rule.room, *rule.allowed))
    ]
    assert not wrong, "\n".join(wrong)


def test_pure_rooms_reach_no_clock_file_socket_log_or_chance() -> None:
    wrong = [
        f"{_module(path)} imports {name}"
        for path in _sources()
        if any(_below(_module(path), room) for room in PURE_ROOMS)
        for name in _imports(path)
        if name.split(".")[0] in IMPURE
    ]
    assert not wrong, "\n".join(wrong)


def test_agent_and_collector_never_import_each_other() -> None:
    wrong = [
        f"{_module(path)} imports {name}"
        for path in _sources()
        for name in _imports(path)
        if {_module(path).split(".")[0], name.split(".")[0]} == {"agent", "collector"}
    ]
    assert not wrong, "\n".join(wrong)


def test_fronts_never_import_the_store() -> None:
    wrong = [
        f"{_module(path)} imports {name}"
        for path in _sources()
        if _below(_module(path), "collector.fronts")
        for name in _imports(path)
        if _below(name, "collector.store")
    ]
    assert not wrong, "\n".join(wrong)


def test_loops_name_no_concrete_driver() -> None:
    wrong = [
        f"{_module(path)} imports {name}"
        for path in _sources()
        if _below(_module(path), "agent.loops")
        for name in _imports(path)
        if _below(name, "agent.drivers") and not _below(name, "agent.drivers.base")
    ]
    assert not wrong, "\n".join(wrong)


def test_a_package_file_holds_its_docstring_only() -> None:
    for path in (one for one in _sources() if one.name == "__init__.py"):
        body = ast.parse(path.read_text()).body
        assert len(body) == 1, f"{path} has code"
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


def test_no_file_is_a_drawer() -> None:
    assert not [path for path in _sources() if DRAWERS & set(path.relative_to(ROOT).with_suffix("").parts)]


def test_files_have_at_most_500_lines_and_functions_at_most_60() -> None:
    for path in _sources():
        text = path.read_text()
        assert text.count("\n") <= 500, f"{path} is too long"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                assert lines <= 60, f"{path}:{node.lineno} {node.name} has {lines} lines"
