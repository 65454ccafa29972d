"""How this node runs Xray: what the operator decides, checked once."""

import os
from dataclasses import dataclass
from pathlib import Path

from agent.core import versions
from agent.drivers.xray import runfile

#: Size of sun_path less its closing zero (unix(7)).
_MAX_SOCKET_PATH_BYTES = 107


@dataclass(frozen=True, kw_only=True)
class Options:
    """Raises ValueError, in words, for a combination that could not work.

    `lock_file` is the file on which the agent holds an exclusive `flock` while it lives; `fence_s` seconds
    after the last agent Xray's users are cut off, and it waits to be read. `binary` names an own Xray or
    V2Ray, None takes the one of the Python package; `version` is the only one that may be run, None any good
    one. `splice` lets the kernel move bytes past the counters, which then stand still until a connection
    closes: cheaper, but a quota is no longer a bound.
    """

    run_dir: Path
    lock_file: Path
    binary: Path | None = None
    allow_private_targets: bool = False
    fence_s: float = 60.0
    splice: bool = False
    version: versions.Version | None = None

    def __post_init__(self) -> None:
        """Refuse what would only fail later."""
        if not self.run_dir.is_absolute() or not self.lock_file.is_absolute():
            raise ValueError("the run directory and the lock file of Xray must be absolute paths")
        if any(sign in str(self.run_dir) for sign in ",:"):
            raise ValueError(f"the run directory {self.run_dir} must not contain a comma or a colon")
        longest = len(os.fsencode(self.run_dir / runfile.CONTROL_SOCKET))
        if longest > _MAX_SOCKET_PATH_BYTES:
            excess = longest - _MAX_SOCKET_PATH_BYTES
            raise ValueError(f"the run directory {self.run_dir} is {excess} bytes too long for unix sockets")
        if self.fence_s <= 0:
            raise ValueError("the fence must be longer than zero seconds")

    @property
    def api(self) -> Path:
        """Where Xray's API listens."""
        return self.run_dir / runfile.API_SOCKET

    @property
    def webhook(self) -> Path:
        """Where the host hears of connections."""
        return self.run_dir / runfile.WEBHOOK_SOCKET

    @property
    def control(self) -> Path:
        """Where the host answers the agent."""
        return self.run_dir / runfile.CONTROL_SOCKET
