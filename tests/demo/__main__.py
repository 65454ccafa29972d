"""`make demo`: the main job in front of one's eyes, with figures at the end.

The last line is one JSON object; the exit status is 0 only when every figure in it is right.
"""

import json
import sys

from tests.demo import figures, story
from tests.demo.stage import Stage, table

_INTERRUPTED = 130


def main() -> int:
    """Play, show the figures, judge them."""
    stage = Stage(sys.stdout)
    try:
        measured = story.play(stage)
    except (KeyboardInterrupt, SystemExit):
        stage.say("interrupted; everything that was started is ended")
        stage.plain(json.dumps({"ok": False, "error": "interrupted"}))
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever broke, the last line is JSON and the logs are shown
        return _failed(stage, error)
    return _judged(stage, measured)


def _judged(stage: Stage, measured: figures.Figures) -> int:
    found = figures.checks(measured)
    stage.plain("")
    head = ("user", "delivered", "billed", "difference", "verdict")
    for line in table(head, figures.rows(measured)):
        stage.plain(line)
    stage.plain("")
    for check in found:
        stage.plain(f"{'right' if check.holds else 'WRONG'}  {check.claim}")
    for sentence in measured.left_out:
        stage.plain(f"left out  {sentence}")
    last = figures.summary(measured, found)
    stage.plain(json.dumps(last))
    return 0 if last["ok"] else 1


def _failed(stage: Stage, error: Exception) -> int:
    for note in getattr(error, "__notes__", ()):
        stage.plain(note)
    stage.plain(json.dumps({"ok": False, "error": f"{type(error).__name__}: {error}"}))
    return 1


if __name__ == "__main__":
    sys.exit(main())
