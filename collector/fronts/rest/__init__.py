"""The REST API: a table of routes, and what turns a request into a call of an app function."""
