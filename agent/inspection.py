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
            if (version := ledger_file.version(db)) != ledger_file.VERSION:
                older = version < ledger_file.VERSION
                raise LedgerError(
                    f"the ledger {path} is of version {version}, this agent's of {ledger_file.VERSION}: "
                    + ("start the agent, which brings it up to date" if older else "use the newer agent")
                )
            facts = dict(db.execute("SELECT name, value FROM facts"))
            meters, up, down = ledger_blocks.sums(db)
            items, stopped, incidents = db.execute(
                "SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM stopped), "
                "(SELECT count(*) FROM incidents)"
            ).fetchone()
    except (sqlite3.Error, ValueError) as error:
        raise LedgerError(ledger.damaged(path, error)) from error
    return {
        "ledger": facts["id"],
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
