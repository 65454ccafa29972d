"""What became of each item of the desired state, to be told to the collector (R1: success or failure)."""

from collections.abc import Collection

from agent.core import plan
from agent.loops.node import Node
from shared.messages import Applied, Item


def conclude(node: Node) -> None:
    """Note for the collector which items changed between served and not served."""
    failures = {**node.wanted().failures, **plan.account_failures(node.unjoined)}
    items = node.holding.items
    failures = {key: reason for key, reason in failures.items() if key in items}
    changed = {
        key for key in failures.keys() | node.failures.keys() if failures.get(key) != node.failures.get(key)
    }
    node.failures = failures
    tell(node, changed)


def tell(node: Node, keys: Collection[str]) -> None:
    """Queue the outcome of these items; a newer outcome of one item replaces the older."""
    for key in keys:
        item = node.holding.items.get(key)
        if item is not None:
            error = node.failures.get(key)
            node.untold[key] = Applied(key=key, generation=item.generation, error=error)


def tell_gone(node: Node, items: Collection[Item]) -> None:
    """Queue the success of items that are no longer served."""
    for item in items:
        if item.key not in node.holding.items:
            node.untold[item.key] = Applied(key=item.key, generation=item.generation)
