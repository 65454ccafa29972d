"""Breach to cut: twenty users run over their quotas under traffic, one after the other; and cuts alone.

On the node the clock runs from the reading that shows the breach to the cut (the agent's log has it); for the
client from the quota's last byte to his own last byte, so it holds the wait for that reading as well. Parts:
`breaches`, and `connections`, which are cuts of many connections and many cuts, without quotas.
"""

import statistics

from tests.bench import cuts
from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.kit import fleet, waiting

_BREACHES = 20
_QUOTA_BYTES = 2_000_000
_RATE = 10_000_000
_GOAL_MS = 50.0


def measure(asked: Asked) -> list[Figure]:
    """All parts that are wanted."""
    breaches = _breaches() if asked.wants("breaches") else []
    return breaches + (cuts.measure() if asked.wants("connections") else [])


def _breaches() -> list[Figure]:
    """Median and worst, on the node and at the client."""
    with fleet.opened(("home",)) as everything:
        seen_ms = [_breach(everything, f"user-{number}") for number in range(_BREACHES)]
        # The node logs a cut when it has made sure of it; the client has seen it by then.
        waiting.until(lambda: len(_made_ms(everything)) == _BREACHES, within_s=5, what="all cuts in the log")
        made_ms = _made_ms(everything)
    return [
        _figure("breach to cut on the node, median", statistics.median(made_ms), _GOAL_MS),
        _figure("breach to cut on the node, worst", max(made_ms)),
        _figure("quota's last byte to client's last byte, median", statistics.median(seen_ms)),
        _figure("quota's last byte to client's last byte, worst", max(seen_ms)),
    ]


def _made_ms(everything: fleet.Fleet) -> list[float]:
    cuts = everything.agent.events("user_cut")
    return [float(line["since_reading_ms"]) for line in cuts if line["since_reading_ms"] is not None]


def _breach(everything: fleet.Fleet, name: str) -> float:
    user = everything.add_user(name, quota_bytes=_QUOTA_BYTES)
    everything.served(user)
    mark = _QUOTA_BYTES - everything.delivered(user)
    download = everything.download(user, 20 * _QUOTA_BYTES, rate=_RATE, mark=mark)
    result = download.result()
    if result.how != "cut" or result.last_byte_at_us is None:
        raise RuntimeError(f"{name} was not cut: {result}")
    everything.client(user).program.stop()
    return float((result.last_byte_at_us - download.events("mark")[0]["at_us"]) / 1000)


def _figure(name: str, value_ms: float, goal_ms: float | None = None) -> Figure:
    return Figure(name=name, value=round(value_ms, 1), unit="ms", goal=goal_ms)
