"""What becomes of the users when no agent is left: they are cut off, while Xray keeps what it counted.

What always holds: an Xray that was fenced once serves nobody until its end, also when an agent is back, who
reads it and replaces it; while it can still be reached by anybody, whoever comes is cut within `RETRY_S`;
connections of another program that took the port over are left alone.
"""

import sys
from pathlib import Path

from agent.drivers import pids
from agent.drivers.xray import closing, dialects, labels, runfile, sockets
from shared.names import EndpointId

#: Between two cuts as long as somebody may come back.
RETRY_S = 0.15
_PATIENCE_S = 0.25
#: What stops a cut for a moment, as too many open files do, is no reason to give up what was counted.
_STUBBORN_S = 5.0


class PowerlessError(Exception):
    """Nobody can be cut off here, for the reason given: only the end of Xray does it."""


class Fence:
    """The watch over one Xray and its agent; `fenced` stays true once it is."""

    def __init__(self, spec: runfile.Spec, now_s: float) -> None:
        self.fenced = False
        self._spec = spec
        self._api = Path(spec.run_dir) / runfile.API_SOCKET
        self._method = dialects.of(spec.core).name(closing.METHOD)
        self._refusal = sockets.refusal()
        self._check_s = min(1.0, spec.fence_s / 4)
        self._agent_seen_s = self._cut_s = now_s
        self._closed = self._empty = False

    def attend(self, now_s: float) -> float:
        """Look for an agent, cut everybody off when there is none; returns the seconds until the next look.

        Raises PowerlessError when connections cannot be ended in this place.
        """
        if pids.agent_lives(self._spec.lock_file):
            self._agent_seen_s = now_s
            return self._check_s
        if not self.fenced:
            if now_s - self._agent_seen_s < self._spec.fence_s:
                return self._check_s
            self._rise(now_s)
        return self._hold(now_s)

    def _rise(self, now_s: float) -> None:
        if self._refusal:
            raise PowerlessError(self._refusal)
        self.fenced, self._cut_s = True, now_s
        sys.stderr.write("no agent is left: everybody is cut off\n")

    def _hold(self, now_s: float) -> float:
        if self._closed and self._empty:
            return self._check_s
        try:
            self._cut_off()
        except OSError as error:
            if now_s - self._cut_s > _STUBBORN_S:
                raise PowerlessError(error.strerror) from error
        else:
            self._cut_s = now_s
        return RETRY_S

    def _cut_off(self) -> None:
        places = runfile.current(self._spec)
        if not self._closed:
            tags = [labels.tag(EndpointId(place.endpoint)) for place in places]
            self._closed = closing.close(self._api, tags, _PATIENCE_S, self._method)
        live = [found for port in runfile.ports(places) for found in sockets.connections(port)]
        sockets.end(live)
        self._empty = not live
