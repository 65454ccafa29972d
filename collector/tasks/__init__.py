"""What the collector does by itself, as often as it is asked to: without input, and again without harm."""
