"""Files in memory, for what a core is given and what it writes: no pipe can fill, nothing reaches a disk."""

import fcntl
import os

_MAX_BYTES = 128 << 10


def create(name: str, content: bytes = b"") -> int:
    """A file in memory with this content, to be read from its start; what is written goes to its end."""
    descriptor = os.memfd_create(name)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_APPEND)
    return descriptor


def read(descriptor: int) -> str:
    """All of it that is still kept."""
    return os.pread(descriptor, _MAX_BYTES, 0).decode(errors="replace")
