"""What can be asked of the collector: one function, one transaction: load, decide, save, say what changed."""
