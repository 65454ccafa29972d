"""Xray from its wheel as a VPN client: `python -m tests.kit.xray_client CONFIG`; ends with SIGTERM."""

import sys
from pathlib import Path

import xray


def main() -> None:
    """Run the core on this configuration until it is told to end."""
    xray.startFromJSON(Path(sys.argv[1]).read_text())


if __name__ == "__main__":
    main()
