"""An event loop that is held up says by what.

Neighbours: `dispatch.tasks` calls `turned` every `beat` while there are connections. Its one rule: the stack
is taken while the loop is blocked, by a thread of faulthandler's that needs no lock of the interpreter, and
told when the loop turns again and it is known for how long: give or take half a beat, since a block may begin
anywhere between two.
"""

from __future__ import annotations

import faulthandler
import time
from typing import Final

from arbiter.link.scoreboard import Row, Word
from arbiter.link.stacks import StackFile, trim
from arbiter.observe.logs import Log

SHARPNESS: Final = 4
"""Beats in the time that the loop may be held up."""
LEAST_BEAT: Final = 0.02
MOST_BEAT: Final = 1.0


class LoopLag:
    """Watches one loop. warning: seconds it may be held up; 0 only measures.

    beat: seconds from one call of `turned` to the next, at most.
    """

    def __init__(self, warning: float, row: Row, log: Log) -> None:
        self.beat = min(MOST_BEAT, max(LEAST_BEAT, warning / SHARPNESS)) if warning else MOST_BEAT
        self._warning = warning
        self._row = row
        self._log = log
        self._file = StackFile() if warning else None
        self._expected = 0.0
        self._pause = 0.0

    def turned(self, pause: float) -> None:
        """The loop turns, and should do so again in `pause` seconds."""
        now = time.monotonic()
        lag = max(0.0, now - self._expected) if self._expected else 0.0
        blocked = lag + self._pause / 2
        self._row.words[Word.LOOP_LAG_NS] = int(lag * 1e9)
        self._expected, self._pause = now + pause, pause
        if self._file is None:
            return
        faulthandler.cancel_dump_traceback_later()  # waits for a dump that is being written
        if blocked > self._warning:
            self._tell(blocked)
        elif self._file.written():
            self._file.take()  # just in time; not to be told as what blocks it the next time
        faulthandler.dump_traceback_later(pause / 2 + self._warning, file=self._file.fileno())

    def rest(self) -> None:
        """Nothing is connected: the loop may sleep for as long as it likes."""
        self._expected = 0.0
        self._row.words[Word.LOOP_LAG_NS] = 0
        if self._file is not None:
            faulthandler.cancel_dump_traceback_later()
            if self._file.written():
                self._file.take()

    def _tell(self, blocked: float) -> None:
        assert self._file is not None
        stacks = trim(self._file.take().partition("\n")[2])  # the first line is faulthandler's own
        self._log.warning(
            "the event loop was blocked for %.1f s\n%s",
            blocked,
            stacks or "(no stack was taken)",
            event="loop.blocked",
            fields={"seconds": round(blocked, 3), "stacks": stacks},
        )

    def close(self) -> None:
        """No more."""
        self.rest()
        if self._file is not None:
            self._file.close()
            self._file = None
