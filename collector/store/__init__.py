"""Rows <-> domain values: the only place that knows the database, one file a noun."""
