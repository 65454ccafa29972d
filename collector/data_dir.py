"""The collector's directory: who may read it, whether it is initialised, and that one process serves from it.

What always holds: the directory is 0700 and its secrets are 0600; the key of the access tokens is written
last, so a directory that has it is initialised completely.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from collector import tokens

_KEY_FILE = "token.key"
_LOCK_FILE = "lock"


class DataDirError(Exception):
    """The directory cannot be used; the text says what to do."""


def prepare(path: Path) -> None:
    """Make the directory where there is none, for its owner only. Raises DataDirError.

    One that holds something of others is left as it is: closing a system's directory would break the system.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o077:
            if any(path.iterdir()):
                raise DataDirError(f"{path} is open to others and not empty: choose a directory of its own")
            path.chmod(0o700)
    except OSError as error:
        raise DataDirError(
            f"{path}: cannot be made ready ({error.strerror}); run this as the user who owns it,"
            " or set TIDEGATE_COLLECTOR_DATA_DIR"
        ) from error


def is_initialised(path: Path) -> bool:
    """Whether `init` has been through with this directory. Raises DataDirError."""
    try:
        return (path / _KEY_FILE).exists()
    except OSError as error:
        raise DataDirError(f"{path}: cannot be read ({error.strerror}); run this as its owner") from error


def require_initialised(path: Path) -> None:
    """Raises DataDirError when `init` has not been through with this directory."""
    if not is_initialised(path):
        raise DataDirError(f"{path} is not initialised: run `tidegate-collector init` first")


def make_key(path: Path) -> None:
    """Write the key of the access tokens; the directory is initialised from here on."""
    temporary = path / f"{_KEY_FILE}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(tokens.KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path / _KEY_FILE)


def read_key(path: Path) -> bytes:
    """The key of the access tokens. Raises DataDirError."""
    file = path / _KEY_FILE
    try:
        key = file.read_bytes()
    except OSError as error:
        raise DataDirError(f"{file}: cannot be read ({error.strerror}); run this as its owner") from error
    if len(key) != tokens.KEY_BYTES:
        raise DataDirError(f"{file}: not {tokens.KEY_BYTES} bytes; restore it from a backup")
    return key


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the directory for one serving or initialising process. Raises DataDirError when another has it."""
    try:
        descriptor = os.open(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirError(f"{path}: cannot be locked ({error.strerror}); run this as its owner") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DataDirError(f"{path} is in use: another tidegate-collector serves from it") from None
    finally:
        os.close(descriptor)
