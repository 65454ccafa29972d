"""The contract between agent and collector: what both must read the same way."""
