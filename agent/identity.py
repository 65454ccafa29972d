"""Who this node is: written once at enrolment, read at each start.

What always holds: the file is complete or absent (written beside, synced, renamed) and readable by its owner
only, since it carries the node's secret.
"""

import os
import tempfile
from pathlib import Path

import msgspec

from shared.names import NodeId

FILE_NAME = "identity.json"
#: What an identity with its CA certificate may take.
_ROOM_BYTES = 16 * 1024


class IdentityError(Exception):
    """There is no usable identity; the text says what to do."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The collector's address, the node's credentials, and the only CA to trust; None: the system's."""

    url: str
    node: NodeId
    name: str
    client_id: str
    client_secret: str
    ca_pem: str | None = None


def load(state_dir: Path) -> Identity:
    """Read the identity. Raises IdentityError."""
    path = state_dir / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        raise IdentityError(
            f"this node is not enrolled ({path} is missing): run the line that "
            "`tidegate-collector node enroll` prints"
        ) from None
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise IdentityError(f"{path} is damaged: enrol this node again with --force") from error


class Place:
    """A file beside the identity's place, opened before anything irreversible is asked of the collector."""

    def __init__(self, state_dir: Path) -> None:
        self._target = state_dir / FILE_NAME
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor, name = tempfile.mkstemp(prefix=".identity-", dir=state_dir)
            self._temporary = Path(name)
            self._reserve()
        except OSError as error:
            raise IdentityError(f"{state_dir} cannot be written: {error.strerror}") from error

    def fill(self, identity: Identity) -> None:
        """Put the identity in its place, durably. Raises IdentityError."""
        try:
            with os.fdopen(self._descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(identity)))
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            self._temporary.replace(self._target)
            directory = os.open(self._target.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise IdentityError(f"{self._target} cannot be written: {error.strerror}") from error

    def _reserve(self) -> None:
        # A file can be made on a full disk; only its content tells.
        try:
            os.posix_fallocate(self._descriptor, 0, _ROOM_BYTES)
        except OSError:
            os.close(self._descriptor)
            self.abandon()
            raise

    def abandon(self) -> None:
        """Remove what was opened; success when it is in its place already."""
        self._temporary.unlink(missing_ok=True)
