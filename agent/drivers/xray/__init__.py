"""Drives a real Xray: starts and adopts it, keeps its users, reads its counters, cuts connections."""
