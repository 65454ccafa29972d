"""What a ledger holds, for an operator, while its agent goes on."""

import contextlib
import sqlite3
from pathlib import Path

from agent import ledger, ledger_blocks, ledger_file
from agent.ledger import LedgerError


def peek(path: Path) -> dict[str, object]:
    """Figures of the ledger in this file. Raises LedgerError."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        with contextlib.closing(connection) as db:
            db.execute("BEGIN")
            if (version := ledger_file.version(db)) != ledger_file.VERSION:
                older = version < ledger_file.VERSION
                raise LedgerError(
                    f"the ledger {path} is of version {version}, this program's of {ledger_file.VERSION}: "
                    + ("restart the agent, which brings it up to date" if older else "use the newer one")
                )
            facts = dict(db.execute("SELECT name, value FROM facts"))
            name = facts["id"]
            meters, up, down = ledger_blocks.sums(db)
            items, stopped, incidents = db.execute(
                "SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM stopped), "
                "(SELECT count(*) FROM incidents)"
            ).fetchone()
    except (sqlite3.Error, KeyError, TypeError, ValueError) as error:
        raise LedgerError(ledger.unusable(path, error)) from error
    return {
        "ledger": name,
        "generation": facts.get("generation", 0),
        "revoked": bool(facts.get("revoked", 0)),
        "items": items,
        "stopped_users": stopped,
        "meters": meters,
        "up_bytes": up,
        "down_bytes": down,
        "unseen_incidents": incidents,
        "last_contact_ms": facts.get("last_contact_ms"),
    }
