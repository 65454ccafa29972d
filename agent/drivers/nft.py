"""Runs the program `nft`: scripts in, sets out, and whether it can be used here at all.

Standard library only, since Xray's host uses it too. What always holds: a script is one transaction, so it is
done whole or not at all (nft(8)); no error repeats what was in a script, which may hold a client's address.
"""

import errno
import json
import os
from collections.abc import Iterator
from typing import Any

_DEADLINE_S = 5.0
#: Administrators' programs are in directories that a service's PATH may lack.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_FAMILY = "inet"


class NftError(Exception):
    """The kernel's packet filter was not changed or read; the text says why and is safe to show."""


def run(script: str) -> None:
    """Do all of a script or nothing. Raises NftError."""
    _nft(["-f", "-"], script)


def remove(*tables: str) -> None:
    """Remove these tables; success for one that is not there. Raises NftError."""
    run("".join(f"table {_FAMILY} {table}\ndelete table {_FAMILY} {table}\n" for table in tables))


def tables() -> list[str]:
    """The tables there are. Raises NftError."""
    return [found["table"]["name"] for found in _listed("tables", _FAMILY) if "table" in found]


def elements(table: str, name: str) -> Iterator[tuple[Any, ...]]:
    """The keys in a set, in parts: addresses and protocols are text, ports numbers. Raises NftError."""
    for found in _listed("set", _FAMILY, table, name):
        for element in found.get("set", {}).get("elem", ()):
            # An element with a timeout is wrapped, and one that is concatenated once more.
            key = element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element
            yield tuple(key["concat"]) if isinstance(key, dict) else (key,)


def refusal() -> str | None:
    """Why this process cannot change the packet filter, found by trying; None if it can."""
    probe = f"tidegate_probe_{os.getpid()}"
    try:
        remove(probe)
    except NftError as reason:
        return str(reason)
    return None


def _listed(*words: str) -> list[dict[str, Any]]:
    answer = json.loads(_nft(["-j", "list", *words]) or b"{}")
    return list(answer.get("nftables", ()))


def _nft(arguments: list[str], script: str | None = None) -> bytes:
    import subprocess  # noqa: PLC0415 - a megabyte which a host without such endpoints does not need

    try:
        done = subprocess.run(
            ["nft", *arguments],
            input=script.encode() if script is not None else None,
            stdin=subprocess.DEVNULL if script is None else None,
            capture_output=True,
            env={"PATH": _PATH, "LC_ALL": "C"},
            timeout=_DEADLINE_S,
            check=False,
        )
    except FileNotFoundError:
        raise NftError("the program nft is missing (package nftables)") from None
    except subprocess.TimeoutExpired:
        raise NftError(f"the program nft did not end within {_DEADLINE_S:g} s") from None
    except OSError as error:
        raise NftError(f"the program nft cannot be run ({error.strerror})") from None
    if done.returncode:
        raise NftError(_reason(done.stderr.decode(errors="replace")))
    return done.stdout


def _reason(said: str) -> str:
    """Why nft failed: of what it says only the cause that the kernel gave, never the line it was about."""
    if os.strerror(errno.EPERM) in said:
        return "the capability CAP_NET_ADMIN is missing"
    if os.strerror(errno.EOPNOTSUPP) in said or os.strerror(errno.EPROTONOSUPPORT) in said:
        return "this kernel has no nftables"
    for code in (errno.EEXIST, errno.ENOENT, errno.ENFILE, errno.ENOSPC, errno.EINVAL, errno.EBUSY):
        if os.strerror(code) in said:
            return f"the kernel refused a change of its packet filter ({os.strerror(code)})"
    return "nft did not accept a change of the packet filter"
