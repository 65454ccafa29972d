"""Whether a database that is opened may be an old copy, and what follows from that."""

#: A collector that was away no longer than this was restarted; beyond, its database may come from a backup.
RESTART_MS = 5 * 60_000
#: The same of leases. Nodes beat every 15 s; asking them once in vain costs little.
LENDING_GAP_MS = 60_000
#: 2020-01-01T00:00:00Z.
_EPOCH_MS = 1_577_836_800_000


def may_be_restored(last_written_ms: int | None, now_ms: int) -> bool:
    """Whether leases may have been given since this database was written; a clock that went back hides it."""
    return last_written_ms is not None and abs(now_ms - last_written_ms) > LENDING_GAP_MS


def floor_after(last_written_ms: int | None, now_ms: int) -> int | None:
    """The lowest number that nobody can have been given since this database was written; None: no gap.

    Seconds since 2020: more than a collector counts up to one by one, and always ahead of an earlier floor.
    """
    if last_written_ms is None or now_ms - last_written_ms <= RESTART_MS:
        return None
    return max(1, (now_ms - _EPOCH_MS) // 1000)
