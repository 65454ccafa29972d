"""The demo's plot: two users behind one address, one in a tunnel, a collector that dies, a quota that ends.

What always holds: nothing is pretended. Programs are the real ones in processes of their own, bytes come
from a socket and arrive at a socket, and every figure is read from where it happened.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.demo import figures
from tests.demo.stage import Stage, bar
from tests.kit import clients, fleet, tunnels, waiting, wireguard

_MB = 1_000_000
_RATE = 5 * _MB
_QUOTA_BYTES = 40 * _MB
_DOWNLOAD_BYTES = 60 * _MB
_KILL_AT_BYTES = 8 * _MB
_BACK_AT_BYTES = 16 * _MB
_TUNNEL_BYTES = 12 * _MB
_TUNNEL_RATE = 2 * _MB
_PATIENCE_S = 40.0


@dataclass(frozen=True)
class Pull:
    """One user's download as the story watches it."""

    user: fleet.User
    download: clients.Download

    def line(self) -> str:
        """His bar."""
        return f"{self.user.name} {bar(self.download.total(), _DOWNLOAD_BYTES)}"


@dataclass(frozen=True, kw_only=True)
class Tunnelled:
    """The user in a tunnel and his download."""

    user: fleet.User
    tunnel: tunnels.Tunnel
    client: wireguard.Client
    download: clients.Download


@dataclass(frozen=True, kw_only=True)
class Story:
    """Everyone on stage."""

    stage: Stage
    fleet: fleet.Fleet
    alice: Pull
    bob: Pull
    carol: Tunnelled | None
    left_out: tuple[str, ...]

    def show(self) -> None:
        """Both bars, right now."""
        self.stage.progress(f"{self.alice.line()}   {self.bob.line()}")


def play(stage: Stage) -> figures.Figures:
    """Tell it from beginning to end and return what was measured."""
    stage.say("starting a collector, an agent and its Xray, each in a process of its own")
    lacking = wireguard.missing()
    with (
        fleet.opened(("home", "cafe"), fleet.Wishes(tunnels=lacking is None)) as everything,
        contextlib.ExitStack() as afterwards,
    ):
        left_out = (*everything.lab.limitations, *_without_tunnel(lacking))
        _introduce(stage, everything, left_out)
        carol = None if lacking else afterwards.enter_context(_tunnelled(stage, everything))
        story = _begin(stage, everything, carol, left_out)
        outage = _collector_dies(story)
        cut = _quota_ends(story)
        return _measure(story, outage, cut)


def _without_tunnel(lacking: str | None) -> tuple[str, ...]:
    return (f"WireGuard is not shown: {lacking}",) if lacking else ()


@contextlib.contextmanager
def _tunnelled(stage: Stage, everything: fleet.Fleet) -> Iterator[Tunnelled]:
    """A user whose client has the file that the API hands out, in the middle of a download."""
    with tunnels.opened(everything) as tunnel:
        user = tunnel.add_user("carol")
        with tunnel.client(user, "cafe") as client:
            download = tunnel.download(client, _TUNNEL_BYTES, rate=_TUNNEL_RATE)
            stage.say(f"carol is in a WireGuard tunnel, and pulls {_TUNNEL_BYTES / 1e6:.0f} MB through it")
            yield Tunnelled(user=user, tunnel=tunnel, client=client, download=download)


def _introduce(stage: Stage, everything: fleet.Fleet, left_out: tuple[str, ...]) -> None:
    versions = "real Xray on the node, real sing-box clients, one client address"
    stage.say(f"the fleet is up: {versions} ({everything.lab['home'].address})")
    for sentence in left_out:
        stage.say(f"left out here: {sentence}")


def _begin(
    stage: Stage, everything: fleet.Fleet, carol: Tunnelled | None, left_out: tuple[str, ...]
) -> Story:
    alice = everything.add_user("alice", quota_bytes=_QUOTA_BYTES)
    bob = everything.add_user("bob")
    for user in (alice, bob):
        everything.served(user)
    rest = _QUOTA_BYTES - everything.delivered(alice)
    pulls = [
        Pull(user, everything.download(user, _DOWNLOAD_BYTES, rate=_RATE, mark=mark))
        for user, mark in ((alice, rest), (bob, None))
    ]
    stage.say(f"alice has a quota of {_QUOTA_BYTES / 1e6:.0f} MB, bob has none; both pull {_sized()}")
    return Story(stage=stage, fleet=everything, alice=pulls[0], bob=pulls[1], carol=carol, left_out=left_out)


def _collector_dies(story: Story) -> figures.Outage:
    everything = story.fleet
    _watch(story, lambda: story.bob.download.total() >= _KILL_AT_BYTES, "bob's first megabytes")
    before, passed, began_s = _billed(story), _passed(story), time.monotonic()
    everything.collector.kill()
    story.stage.say("kill -9 of the collector, in the middle of both downloads")
    _watch(story, lambda: story.bob.download.total() >= _BACK_AT_BYTES, "bytes without a collector")
    during, lasted_s = _passed(story) - passed, time.monotonic() - began_s
    everything.collector.start()
    everything.collector_answers()
    after = _billed(story)
    story.stage.say(f"the collector is back; {during / 1e6:.1f} MB passed without it")
    _watch(story, lambda: _billed(story) >= before + during, "the bill to catch up")
    story.stage.say("the bill has caught up with what passed meanwhile")
    return figures.Outage(
        lasted_ms=round(lasted_s * 1000, 1),
        passed_bytes=during,
        billed_before_bytes=before,
        billed_after_bytes=after,
    )


def _quota_ends(story: Story) -> clients.Result:
    _watch(story, lambda: bool(story.alice.download.events("end")), "alice's quota to end her download")
    cut = story.alice.download.result()
    story.stage.say(f"alice is over her quota, her download is {cut.how} after {cut.total / 1e6:.1f} MB")
    return cut


def _measure(story: Story, outage: figures.Outage, cut: clients.Result) -> figures.Figures:
    everything, alice = story.fleet, story.alice.user
    again = everything.download(alice, 1000).result()
    story.stage.say(f"alice tries a new connection: {again.how}")
    _watch(story, lambda: bool(story.bob.download.events("end")), "bob's download to end")
    whole = story.bob.download.result()
    story.stage.say(f"bob's download is {whole.how}")
    return figures.Figures(
        cut_user=_bill(story, story.alice, cut, _QUOTA_BYTES),
        neighbour=_bill(story, story.bob, whole, None),
        outage=outage,
        cut_seen_ms=_seen_ms(story.alice.download, cut),
        cut_made_ms=_made_ms(everything, alice),
        new_connection=again.how,
        tunnel=_tunnel(story, story.carol) if story.carol else None,
        cut_judged=not everything.lab.limitations,
        left_out=story.left_out,
    )


def _tunnel(story: Story, carol: Tunnelled) -> figures.Tunnel:
    result = carol.download.result()
    story.stage.say(f"carol's download is {result.how}; what wg says at the node is compared with the bill")
    try:
        billed = counted = carol.tunnel.settled(carol.user, carol.client)
    except TimeoutError:  # figures that differ are shown, not hidden behind an error
        billed, counted = story.fleet.billed(carol.user), carol.tunnel.counted(carol.client)
    return figures.Tunnel(
        name=carol.user.name,
        how=result.how,
        delivered_bytes=result.total,
        counted_bytes=counted,
        billed_bytes=billed,
    )


def _bill(story: Story, pull: Pull, result: clients.Result, quota_bytes: int | None) -> figures.Bill:
    everything = story.fleet
    counted = everything.counted(pull.user)
    billed = everything.settled(pull.user, counted)["total"]
    return figures.Bill(
        name=pull.user.name,
        how=result.how,
        delivered_bytes=everything.delivered(pull.user),
        counted_bytes=counted,
        billed_bytes=billed,
        quota_bytes=quota_bytes,
    )


def _seen_ms(download: clients.Download, cut: clients.Result) -> float | None:
    marks = download.events("mark")
    if not marks or cut.last_byte_at_us is None:
        return None
    return float((cut.last_byte_at_us - marks[0]["at_us"]) / 1000)


def _made_ms(everything: fleet.Fleet, user: fleet.User) -> float | None:
    cuts = [line for line in everything.agent.events("user_cut") if user.id in line["users"]]
    return next((float(made) for line in cuts if (made := line["since_reading_ms"]) is not None), None)


def _watch(story: Story, condition: Callable[[], bool], what: str) -> None:
    def seen() -> bool:
        story.show()
        return condition()

    waiting.until(seen, within_s=_PATIENCE_S, what=what)


def _billed(story: Story) -> int:
    return sum(story.fleet.billed(pull.user) for pull in (story.alice, story.bob))


def _passed(story: Story) -> int:
    return sum(pull.download.total() for pull in (story.alice, story.bob))


def _sized() -> str:
    return f"{_DOWNLOAD_BYTES / 1e6:.0f} MB at {_RATE / 1e6:.0f} MB/s"
