"""Imports httpx without its command line, which brings click and pygments where they are installed.

What always holds: afterwards both can be imported as before. This saves the agent 2 MB wherever it shares an
environment with the collector.
"""

import importlib
import sys


def import_httpx() -> None:
    """Load httpx; later imports of it find it loaded."""
    if "click" in sys.modules:
        return
    # A module that is None cannot be imported; httpx takes that for "not installed".
    sys.modules["click"] = None  # type: ignore[assignment] # the import system's documented way to block one
    try:
        importlib.import_module("httpx")
    finally:
        del sys.modules["click"]
