"""Which core an operator's own binary is, asked of the binary itself, and whether it may be run.

What always holds: nothing is served by a binary that was refused; the same question is understood by Xray
and by V2Ray 4 (`-version`), and no configuration is read for it.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field

from agent.core import versions
from agent.drivers.xray import dialects, options, output, process

_DEADLINE_S = 5.0
_NAMED_S = 3.0
_POLL_S = 0.005


@dataclass(frozen=True)
class Admission:
    """How to speak to the core, and what is known of its version."""

    dialect: dialects.Dialect = dialects.XRAY
    judgement: versions.Judgement = field(default_factory=versions.Judgement)

    @property
    def limitations(self) -> tuple[str, ...]:
        """What an operator must know of it, a refusal first."""
        refused = (self.judgement.refusal,) if self.judgement.refusal else ()
        return (*refused, *self.judgement.warnings, *self.dialect.limitations)


async def admit(chosen: options.Options) -> Admission:
    """What the operator's binary is; the core of the Python package tells only when it runs."""
    if chosen.binary is None:
        return Admission()
    return told(await _said(chosen), chosen)


def told(text: str, chosen: options.Options) -> Admission:
    """What a core is that says this of itself."""
    core = versions.said(text)
    dialect = dialects.of(core.name) if core else dialects.XRAY
    return Admission(dialect, versions.judge(core, chosen.version))


def running(it: process.Process, chosen: options.Options) -> Admission:
    """What a core is that runs already, by its first words."""
    core = versions.said(it.output())
    return Admission(dialects.of(it.run.core), versions.judge(core, chosen.version))


async def introduced(it: process.Process, chosen: options.Options) -> Admission:
    """What a core is that has just started: it names itself a moment after it has begun to listen."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_NAMED_S):
            while versions.said(it.output()) is None and not it.ended.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(it.ended.wait(), _POLL_S)
    return running(it, chosen)


async def tested(chosen: options.Options, text: str) -> str | None:
    """Why V2Ray would not start with this configuration, in its words; None when it would."""
    status, said = await _run(chosen, text, "-test", "-config", "stdin:")
    return (output.said(said) or "it does not say why") if status else None


async def _said(chosen: options.Options) -> str:
    return (await _run(chosen, "", "-version"))[1]


async def _run(chosen: options.Options, text: str, *arguments: str) -> tuple[int, str]:
    """Run the binary to its end with this input; its status and words, 0 and nothing when it does not end.

    One that cannot be run says so when it is started, in the words that there are for that.
    """
    try:
        asked = await asyncio.create_subprocess_exec(
            str(chosen.binary),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd="/",
            env=process.environment(chosen),
        )
    except OSError:
        return 0, ""
    try:
        async with asyncio.timeout(_DEADLINE_S):
            said, _ = await asked.communicate(text.encode())
    except TimeoutError:
        return 0, ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            asked.kill()
        await asked.wait()
    return asked.returncode or 0, said.decode(errors="replace")
