"""How this node runs WireGuard: what the operator decides, checked once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.drivers.wireguard import checks
from shared.names import MAX_ID, EndpointId

#: Where wireguard-go puts its socket, whatever it is told (ipc/uapi_unix.go).
SOCKETS = Path("/var/run/wireguard")


Choice = Literal["auto", "kernel", "userspace"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Raises ValueError, in words, for a combination that could not work.

    `run_dir` is where it is written what runs, for the next agent. `backend` forces one of the two; "auto"
    takes the kernel's module where there is one. Interfaces are named `prefix` and the number of their
    endpoint; `binary` is wireguard-go. `lock_file` is the file on which the agent holds an exclusive `flock`
    while it lives; `fence_s` seconds after the last agent interfaces are taken down, to be read by the next
    one. Without a lock file they are not.
    """

    run_dir: Path
    lock_file: Path | None = None
    fence_s: float = 60.0
    backend: Choice = "auto"
    prefix: str = "tg"
    binary: str = "wireguard-go"

    def __post_init__(self) -> None:
        """Refuse what would only fail later."""
        if not self.run_dir.is_absolute():
            raise ValueError("the run directory of WireGuard must be an absolute path")
        if self.lock_file is not None and not self.lock_file.is_absolute():
            raise ValueError("the lock file of the agent must be an absolute path")
        if self.fence_s <= 0:
            raise ValueError("the fence must be longer than zero seconds")
        longest = f"{self.prefix}{MAX_ID}u"
        if len(longest) > checks.NAME_LENGTH:
            excess = len(longest) - checks.NAME_LENGTH
            raise ValueError(
                f"the prefix {self.prefix!r} of WireGuard's interfaces is {excess} signs too long"
            )
        checks.interface_name(longest)

    def interface(self, endpoint: EndpointId) -> str:
        """The interface of an endpoint."""
        return checks.interface_name(f"{self.prefix}{endpoint}")
