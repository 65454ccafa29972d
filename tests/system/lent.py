"""What agents hold of limited users in a world of faults, compared with what the collector's books say.

What always holds: the collector knows every lease that a node holds, or is asking that node what it holds. A
state directory that was restored from a copy holds again what it had given back: no books can know that.
"""

from collections.abc import Iterable, Sequence

from agent.core import plan
from agent.loops.node import Node
from collector.domain.leases import Ceilings
from collector.store.session import Session
from shared.messages import Account, Item
from shared.names import EndpointId, LedgerId, NodeId, UserId

TERMS = 1
_UNKNOWN = Ceilings(0, 0, 0)


def expect(agent: Node, users: Iterable[UserId]) -> None:
    """Let an agent know that these users are served under leases; what it serves is no matter here."""
    accounts = [Account(user=user, endpoint=EndpointId(1), uuid="", terms=TERMS) for user in users]
    items = {str(one.user): Item(key=str(one.user), generation=1, body=one) for one in accounts}
    agent.loans.expect(plan.Holding(generation=1, items=items))


def give_back(agent: Node, users: Sequence[UserId]) -> int:
    """Let an agent give back what it holds of these users, who are idle; returns of how many that was."""
    agent.loans.moved.rest(users)
    agent.give_back(users)
    return sum(user in agent.ledger.leases for user in users)


def rightly(session: Session, node: NodeId, agent: Node) -> None:
    """The books know what an agent holds, or its node is asked."""
    if is_asked(session, node):
        return
    books = _books(session, agent.ledger.id)
    for lease in agent.ledger.leases.values():
        told = Ceilings(lease.total, lease.up, lease.down)
        for mine, known in zip(told, books.get(lease.user, _UNKNOWN), strict=True):
            assert mine is None or (known is not None and mine <= known), f"{lease} is not in {books}"


def is_asked(session: Session, node: NodeId) -> bool:
    """Whether a node was asked what it holds, and has not answered."""
    return bool(session.rows("SELECT 1 FROM node WHERE id = ? AND learning_ms IS NOT NULL", (node,)))


def _books(session: Session, ledger: LedgerId) -> dict[UserId, Ceilings]:
    rows = session.rows(
        "SELECT l.user_id, l.total_bytes, l.up_bytes, l.down_bytes FROM lease AS l"
        " JOIN ledger AS g ON g.id = l.ledger_id WHERE g.name = ?",
        (ledger,),
    )
    return {UserId(user): Ceilings(*held) for user, *held in rows}
