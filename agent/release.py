"""The agent's version, as it tells the collector; a test holds it to pyproject.toml.

Not read from package metadata: that import costs the agent a megabyte.
"""

VERSION = "0.1.0"
