"""What a collector's writer remembers between transactions, compared with its database."""

from collector.domain import standing
from collector.store import users
from collector.store.session import Session


def rightly(session: Session) -> None:
    """Meters are remembered to the byte, and nobody has more room than his limits leave; runs as a write."""
    rooms = session.hot.admitted()
    known = users.among(session, rooms)
    for number, room in rooms.items():
        assert known[number].served
        assert room <= standing.room(known[number])
    for source in session.hot.remembered().values():
        rows = session.rows(
            "SELECT endpoint_id, user_id, up_bytes, down_bytes, billed_up_bytes, billed_down_bytes"
            " FROM meter WHERE ledger_id = ?",
            (source.number,),
        )
        told = {(endpoint, user): totals for user, endpoint, *totals in source.meters}
        assert told == {(row[0], row[1]): list(row[2:]) for row in rows}
