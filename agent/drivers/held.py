"""A program that outlives the agent, held by a pidfd from its start or adoption to its end.

What always holds: no signal ever hits another process; what it writes goes to a file in memory.
"""

import asyncio
import contextlib
import os
import signal

from agent.drivers import base, memfiles

_KILL_S = 5.0


class Held:
    """A running program, ours or an earlier agent's; `ended` is set when it is gone or no longer watched.

    `status` is negative for the signal that ended it, None while that is not known. Its end is waited for
    `term_s` seconds before it is made.
    """

    def __init__(self, pid: int, pidfd: int, output_fd: int | None, *, called: str, term_s: float) -> None:
        self.pid = pid
        self.ended = asyncio.Event()
        self.status: int | None = None
        self._called = called
        self._term_s = term_s
        self._pidfd = pidfd
        self._output_fd = output_fd
        self._open = True
        asyncio.get_running_loop().add_reader(pidfd, self._gone)

    def output(self) -> str:
        """What it wrote, as far as that is kept."""
        return "" if self._output_fd is None else memfiles.read(self._output_fd)

    async def end(self) -> None:
        """Ask it to end, then make it; returns when it is gone. Raises DriverError when it stays."""
        for number, patience_s in ((signal.SIGTERM, self._term_s), (signal.SIGKILL, _KILL_S)):
            if self.ended.is_set():
                return
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), patience_s)
                return
        raise base.DriverError(f"{self._called}'s process {self.pid} does not end")

    def close(self) -> None:
        """Let go of it without ending it."""
        if self._open:
            self._open = False
            self.ended.set()
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            if self._output_fd is not None:
                os.close(self._output_fd)

    def _gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        with contextlib.suppress(ChildProcessError):  # an adopted one is not our child: its status is lost
            if result := os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG):
                self.status = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        self.ended.set()
