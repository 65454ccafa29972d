"""A process to be killed: books each reading it is told on standard input and says so.

Arguments: the ledger, and optionally the size in bytes past which the kernel refuses to let any file grow.
"""

import json
import resource
import sys
from pathlib import Path

from agent import ledger
from agent.core.counting import Count, Meter, Reading
from shared.names import EndpointId, UserId
from tests.agent.books import AT_MS


def main(path: Path, limit_bytes: int | None) -> None:
    book = ledger.open_ledger(path)
    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    for line in sys.stdin:
        told = json.loads(line)
        if told == "free":
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            continue
        generation, rows = told
        counts = {Meter(UserId(user), EndpointId(1)): Count(up, down) for user, up, down in rows}
        try:
            answer: object = len(book.book(Reading(generation, counts), AT_MS))
        except ledger.LedgerError as error:
            answer = str(error)
        totals = [[m.user, *s.total] for m, s in book.standings.items()]
        sys.stdout.write(json.dumps([answer, totals]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
