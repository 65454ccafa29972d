"""What a collector's writer remembers between transactions, compared with its database."""

from collector.domain import standing
from collector.store import users
from collector.store.session import Session


def rightly(session: Session) -> None:
    """Meters are remembered to the byte, and nobody has more room than his limits leave; runs as a write."""
    known = users.among(session, list(session.hot.rooms))
    for number, room in session.hot.rooms.items():
        assert known[number].served
        assert room <= standing.room(known[number])
    for source in session.hot.remembered().values():
        rows = session.rows(
            "SELECT endpoint_id, user_id, up_bytes, down_bytes, billed_up_bytes, billed_down_bytes"
            " FROM meter WHERE ledger_id = ?",
            (source.number,),
        )
        told = {
            (endpoint, user): totals for endpoint, of in source.meters.items() for user, totals in of.items()
        }
        assert told == {(row[0], row[1]): tuple(row[2:]) for row in rows}
