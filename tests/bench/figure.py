"""One measured figure and the goal it is held against."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure by its name, in its unit; `goal` is the least or the most it should be."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None when there is none."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.better == "lower" else self.value >= self.goal

    def row(self) -> tuple[str, float, str, str, str]:
        """A line of the table."""
        bound = "at most" if self.better == "lower" else "at least"
        goal = "" if self.goal is None else f"{bound} {self.goal:g}"
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        return self.name, self.value, self.unit, goal, verdict
