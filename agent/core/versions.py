"""Which versions of a core this agent runs, which it warns of, and which it refuses: pure.

What always holds: a version of which nothing bad is known is neither refused nor warned of, and one that
cannot be told is refused only where the operator has pinned another; each refusal says why and what to do.

The ranges are those of the cores' own history: a range begins with the first release that has the fault and
ends before the first that has not. The agent downloads nothing: which core a machine has is its operator's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

XRAY, V2RAY = "Xray", "V2Ray"

_SAID = re.compile(r"\b(Xray|V2Ray) v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})\b")
_BARE = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})", re.ASCII)


class Version(NamedTuple):
    """A release, compared number by number; Xray's are year, month and day."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return ".".join(map(str, self))


class Core(NamedTuple):
    """Which program it is, and which release of it."""

    name: str
    version: Version

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with the releases of a core from `since` on and before `fixed`; None is no bound."""

    core: str
    verdict: Literal["refuse", "warn"]
    reason: str
    since: Version | None = None
    fixed: Version | None = None

    def hits(self, core: Core) -> bool:
        """Whether this release has it."""
        begun = self.since is None or self.since <= core.version
        return core.name == self.core and begun and (self.fixed is None or core.version < self.fixed)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Why a core must not be run, in one sentence, and what an operator must know of one that may."""

    refusal: str | None = None
    warnings: tuple[str, ...] = ()


FAULTS = (
    Fault(
        core=XRAY,
        verdict="refuse",
        reason="its API cannot listen on a unix socket",
        fixed=Version(26, 5, 3),
    ),
    Fault(
        core=XRAY,
        verdict="refuse",
        reason="it tells nobody whose a connection is, so none could be cut",
        fixed=Version(26, 3, 23),
    ),
    Fault(
        core=XRAY,
        verdict="refuse",
        reason="it loses sight of addresses that are still connected",
        since=Version(24, 11, 5),
        fixed=Version(26, 3, 23),
    ),
    Fault(
        core=XRAY,
        verdict="refuse",
        reason="it counts what users of VLESS receive twice",
        since=Version(25, 9, 5),
        fixed=Version(26, 1, 13),
    ),
    Fault(
        core=XRAY,
        verdict="refuse",
        reason="it cannot be asked which endpoints it serves",
        fixed=Version(25, 6, 7),
    ),
    Fault(
        core=XRAY,
        verdict="refuse",
        reason="it cannot be asked whom it serves",
        fixed=Version(24, 11, 5),
    ),
    Fault(
        core=XRAY,
        verdict="warn",
        reason="users of its WireGuard endpoints can be neither added nor counted one by one",
        fixed=Version(26, 6, 27),
    ),
    Fault(
        core=XRAY,
        verdict="warn",
        reason="it may count a user's first bytes nowhere, when two of his first connections begin together",
        fixed=Version(26, 7, 11),
    ),
    Fault(
        core=V2RAY,
        verdict="refuse",
        reason="its messages have other names than those of V2Ray 4, which this agent knows",
        since=Version(5, 0, 0),
    ),
    Fault(
        core=V2RAY,
        verdict="warn",
        reason="this agent has been tried with 4.34 only",
        fixed=Version(4, 34, 0),
    ),
)

#: What to have instead, by core.
_ADVICE = {
    XRAY: "install Xray 26.7.11 or newer, or leave the choice to the Python package",
    V2RAY: "install V2Ray 4.34, or better Xray 26.7.11 or newer",
}


def said(text: str) -> Core | None:
    """The core that `xray version` or `v2ray -version`, or its first words at a start, tell of."""
    found = _SAID.search(text)
    return Core(found[1], _version(found.groups()[1:])) if found else None


def bare(text: str) -> Version:
    """A version as an operator writes it, `26.10.10` or `v26.10.10`. Raises ValueError."""
    found = _BARE.fullmatch(text)
    if found is None:
        raise ValueError("must be a version like 26.10.10")
    return _version(found.groups())


def judge(core: Core | None, pinned: Version | None = None) -> Judgement:
    """Whether this core may be run; None is one that did not tell its version."""
    if core is None:
        if pinned is not None:
            return Judgement(
                refusal=f"the core does not tell its version, and only {pinned} may be run here: "
                f"install {pinned} or change the pinned version"
            )
        return Judgement(warnings=("The core does not tell its version, so its known faults are not known.",))
    if pinned is not None and core.version != pinned:
        return Judgement(
            refusal=f"{core} is not run, since only {pinned} may be run here: "
            f"install {pinned} or change the pinned version"
        )
    bad = [fault.reason for fault in FAULTS if fault.verdict == "refuse" and fault.hits(core)]
    if bad:
        return Judgement(refusal=f"{core} is not run, since {'; '.join(bad)}: {_ADVICE[core.name]}")
    warned = [fault for fault in FAULTS if fault.verdict == "warn" and fault.hits(core)]
    return Judgement(warnings=tuple(_warning(core, fault) for fault in warned))


def _warning(core: Core, fault: Fault) -> str:
    remedy = "" if fault.fixed is None else f" This is mended in {fault.fixed}."
    return f"{core} has a known fault: {fault.reason}.{remedy}"


def _version(numbers: Sequence[str]) -> Version:
    return Version(*map(int, numbers))
