"""What other processes have committed, and whether it concerns what the writer remembers.

What always holds: whoever does not serve counts each of his commits in the database, in that commit, and
apart those that change what somebody may remember; so whoever serves forgets because of the latter only. A
commit that nobody has counted is of a program that is none of ours: then everything is forgotten. Where both
come between two looks the stranger's is taken for ours; whoever serves looks several times a second. On
PostgreSQL nobody sees a stranger's commit.
"""

from collector.store.engines.engine import Engine
from collector.store.session import Session

_COMMANDS, _CONCERNS = "commands", "concerns"
_ASK = "SELECT name, value FROM fact WHERE name IN (?, ?)"
_COUNT = (
    "INSERT INTO fact (name, value) VALUES (?, 1), (?, ?)"
    " ON CONFLICT (name) DO UPDATE SET value = fact.value + excluded.value"
)


class Elsewhere:
    """For the writer's thread. `serving` is for the one process that serves; all others forget at once."""

    def __init__(self, engine: Engine, session: Session, *, serving: bool) -> None:
        self._engine = engine
        self._session = session
        self._serving = serving
        self._others: int | None = None
        self._counts: dict[str, int] = {}
        self._news = False

    def look(self) -> None:
        """Forget what others may have changed since the last look."""
        others = self._engine.others()
        if others == self._others:
            return
        counts = self._counted()
        if self._others is None or self._concern(counts):
            self._session.hot.forget_all()
        self._news = self._news or self._others is not None
        self._others, self._counts = others, counts

    def news(self) -> bool:
        """Whether others have committed since the last call; nothing had happened before the first look."""
        self.look()
        news, self._news = self._news, False
        return news

    def tell(self, *, concerned: bool) -> None:
        """Count the commit that is being made, and whether it concerns what others may remember."""
        if not self._serving:
            self._session.run(_COUNT, (_COMMANDS, _CONCERNS, int(concerned)))

    def _concern(self, counts: dict[str, int]) -> bool:
        if not self._serving or counts[_COMMANDS] == self._counts[_COMMANDS]:
            return True
        return counts[_CONCERNS] != self._counts[_CONCERNS]

    def _counted(self) -> dict[str, int]:
        if not self._serving:
            return {}
        rows = self._session.rows(_ASK, (_COMMANDS, _CONCERNS))
        return {_COMMANDS: 0, _CONCERNS: 0} | {name: int(value) for name, value in rows}
