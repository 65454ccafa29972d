"""Managers in a fleet, as tests of the app functions ask for them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from collector.app import clock, configs, events, managers, phases
from collector.domain.access import Actor
from collector.domain.events import Recorded
from collector.domain.managers import Manager, ManagerChanges, NewManager
from collector.domain.phases import Seen, Watch
from collector.domain.users import User
from collector.tasks import managers as task
from shared.names import ManagerId, UserId
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet


@dataclass
class Resellers:
    """A fleet with managers, what is remembered of them, and the sessions of who is online."""

    fleet: Fleet
    watches: Mapping[ManagerId, Watch] = field(default_factory=dict)
    live: dict[UserId, int] = field(default_factory=dict)

    def made(self, name: str, parent: Manager | None = None, actor: Actor = ADMIN, **fields: Any) -> Manager:  # noqa: ANN401 - as NewManager has them
        """Make a manager."""
        new = NewManager(name=name, parent=parent.id if parent else None, **fields)
        return self.fleet.db.write_now(managers.create, new, actor, NOW_MS).value

    def change(self, manager: Manager, now_ms: int = NOW_MS, actor: Actor = ADMIN, **fields: Any) -> Manager:  # noqa: ANN401 - as ManagerChanges has them
        """Change a manager."""
        changes = ManagerChanges(**fields)
        return self.fleet.db.write_now(managers.change, manager.id, changes, actor, now_ms).value

    def charge(self, manager: Manager, up: int, down: int, now_ms: int = NOW_MS) -> bool:
        """Bill bytes to a manager, as reports of users directly below him do."""
        return self.fleet.db.write_now(phases.charge, {manager.id: (up, down)}, now_ms)

    def run(self, now_ms: int = NOW_MS) -> None:
        """What the task does at this moment."""
        run = task.run(self.fleet.db, lambda _: None, lambda: self.live, self.watches, lambda: now_ms)
        self.watches = asyncio.run(run)

    def tick(self, now_ms: int) -> int:
        """What the clock does to managers at this moment."""
        return self.fleet.db.write_now(clock.advance_managers, 100, now_ms).value

    def seen(self, manager: Manager) -> Seen:
        """The manager as he is shown now."""
        return self.fleet.db.read_now(managers.one, manager.id, self.live, ADMIN)

    def told(self, manager: Manager) -> list[str]:
        """The kinds of a manager's events after his creation."""
        return [event.kind for event in self.events(manager)][1:]

    def events(self, manager: Manager) -> list[Recorded]:
        """All events of a manager."""
        every = self.fleet.db.read_now(events.page, 0, 1_000)
        return [event for event in every if event.subject == f"manager:{manager.id}"]

    def served(self) -> set[UserId]:
        """The users whom the node ought to serve."""
        full = self.fleet.db.read_now(configs.difference, self.fleet.node.id, 0)
        return {UserId(int(item.key.split("/")[1])) for item in full.items if item.key.startswith("account/")}

    def reasons(self, *users: User) -> list[str | None]:
        """Why each of these users stands as he does."""
        return [self.fleet.seen(user).reason for user in users]
