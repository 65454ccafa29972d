"""Settings from the environment (row H10): every problem is found before any is reported.

A `Reader` is asked for each setting once; wrong values are collected, and `finish` raises them together.
A secret may come from a file named by `…_FILE`, as container platforms hand them out. A variable with our
prefix that nobody asked for is a problem too: a misspelt setting must not be silently ignored.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class SettingsError(Exception):
    """The environment cannot be used; `problems` has one sentence for each wrong setting."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Reader:
    """Reads settings that share a prefix and remembers what was wrong with them."""

    def __init__(self, environ: Mapping[str, str], prefix: str) -> None:
        self._environ = environ
        self._prefix = prefix
        self._asked: set[str] = set()
        self._problems: list[str] = []

    def value(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """The setting parsed, or the default where it is unset or wrong; `parse` raises ValueError."""
        variable = self._prefix + name
        self._asked.add(variable)
        text = self._environ.get(variable)
        if text is None:
            return default
        try:
            return parse(text.strip())
        except ValueError as wrong:
            self._problems.append(f"{variable}={text!r}: {wrong}")
            return default

    def text(self, name: str, default: str) -> str:
        """A non-empty string."""
        return self.value(name, _text, default)

    def path(self, name: str, default: Path | None) -> Path | None:
        """A path; it need not exist."""
        return self.value(name, lambda text: Path(_text(text)), default)

    def flag(self, name: str, *, default: bool) -> bool:
        """Yes or no."""
        return self.value(name, _flag, default)

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        """A number within bounds."""
        return self.value(name, lambda text: _between(_number(text, float), low, high), default)

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        """A whole number within bounds."""
        return self.value(name, lambda text: int(_between(_number(text, int), low, high)), default)

    def choice(self, name: str, default: str, *, among: tuple[str, ...]) -> str:
        """One of a few words."""
        return self.value(name, lambda text: _one_of(text, among), default)

    def secret(self, name: str) -> str | None:
        """A secret from the variable itself or from the file that `<name>_FILE` names; never echoed."""
        variable = self._prefix + name
        self._asked |= {variable, variable + "_FILE"}
        if file := self._environ.get(variable + "_FILE"):
            try:
                return Path(file).read_text(encoding="utf-8").strip()
            except OSError as error:
                self._problems.append(f"{variable}_FILE={file!r}: cannot be read: {error.strerror}")
        return self._environ.get(variable)

    def problem(self, sentence: str) -> None:
        """Add what is wrong with several settings together."""
        self._problems.append(sentence)

    def finish(self) -> None:
        """Raise SettingsError with everything that is wrong, unknown variables included."""
        unknown = sorted(n for n in self._environ if n.startswith(self._prefix) and n not in self._asked)
        problems = [
            *self._problems,
            *(f"{name}: no such setting; remove it or correct it" for name in unknown),
        ]
        if problems:
            raise SettingsError(problems)


def _text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("must be yes or no")


def _number(text: str, kind: Callable[[str], float]) -> float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError("must be a number" if kind is float else "must be a whole number") from None


def _between(number: float, low: float, high: float) -> float:
    if not low <= number <= high:
        raise ValueError(f"must be between {low:g} and {high:g}")
    return number


def _one_of(text: str, among: tuple[str, ...]) -> str:
    if text not in among:
        raise ValueError(f"must be one of {', '.join(among)}")
    return text
