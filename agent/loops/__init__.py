"""What the agent does again and again: each loop is one `*_once()` and a timer."""
