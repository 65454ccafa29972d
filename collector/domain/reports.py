"""A report of usage as it arrived: what could be read of it, with the places of its rows (row H5)."""

from dataclasses import dataclass, field

from collector.domain.learning import Word
from shared.messages import Lease, Usage
from shared.names import LedgerId, UserId


@dataclass(frozen=True, kw_only=True)
class Received:
    """Rows with their places; the text of rows that could not be read with theirs; what is said of leases.

    Places count through `past`, whose rows come with the quarter of an hour in which their bytes were used,
    and then through `rows`, which belong to `quarter`. `order` is the epoch and sequence of the report: words
    about leases count only when it is the newest, as does the `word` on what its node holds.
    """

    ledger: LedgerId
    rows: list[tuple[int, Usage]]
    undecodable: list[tuple[int, str]]
    past: list[tuple[int, Usage, int]] = field(default_factory=list)
    quarter: int = 0
    order: tuple[int, int] = (0, 0)
    returned: tuple[Lease, ...] = ()
    unleased: tuple[UserId, ...] = ()
    word: Word = field(default_factory=Word)
