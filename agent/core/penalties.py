"""Penalties on the node: users who may not be served for a while (row H7).

What always holds: the newest list is the whole truth, so whoever is missing in it is free; a penalty ends by
the node's own clock, also when nobody says so.
"""

from collections.abc import Iterable, Mapping

from shared.messages import Penalty
from shared.names import UserId

#: Whatever a collector says: an agent that it never reaches again forgets a penalty within a day.
LONGEST_S = 86_400.0


def noted(told: Iterable[Penalty], now_s: float) -> dict[UserId, float]:
    """Whom the list names, with the second of the end on the node's clock."""
    return {one.user: now_s + min(one.for_s, LONGEST_S) for one in told if one.for_s > 0}


def left(penalised: Mapping[UserId, float], now_s: float) -> Mapping[UserId, float]:
    """Those whose penalty has not ended; the same mapping when nobody's has."""
    if all(until_s > now_s for until_s in penalised.values()):
        return penalised
    return {user: until_s for user, until_s in penalised.items() if until_s > now_s}
