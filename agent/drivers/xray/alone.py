"""A throw-away Xray: `python -m agent.drivers.xray.alone [BINARY] <config.json`; ends with who started it.

What always holds: it is the same program as the one that serves, in the same mode, and outlives nobody.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run Xray until it is killed; returns its exit status."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if arguments:
        os.execv(arguments[0], [arguments[0], "run", "-c", "stdin:"])  # noqa: S606 - the operator's own
    import xray  # noqa: PLC0415 - 40 MB which only this mode needs

    xray.startFromJSON(sys.stdin.read())
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # at once: Xray's threads must not outlive it
