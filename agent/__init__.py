"""The agent: runs on each node, serves what the collector decided, counts every byte, cuts at once."""
