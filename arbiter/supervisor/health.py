"""Who has been silent too long.

Neighbours: `arbiter` asks between two waits, the scoreboard has the facts, `policy` decides. Its one rule:
only workers that serve are judged, by the monotonic clock, and never after the arbiter itself has slept:
then nobody's silence means anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from arbiter.link.scoreboard import Row, Word
from arbiter.supervisor import events as ev
from arbiter.supervisor.book import FOREVER

SLOWEST: Final = 5.0
"""Seconds between two looks at most; an idle arbiter wakes no oftener."""
FASTEST: Final = 0.5
IDLE_BEAT: Final = 5.0
"""Seconds between two heartbeats of an idle worker (see workers)."""


class Health:
    """Looks at the rows every now and then."""

    def __init__(self, now: float) -> None:
        self.due = now
        self._last = now
        self._interval = SLOWEST

    def look(self, rows: Iterable[tuple[int, Row]], timeout: float, now: float) -> list[ev.Event]:
        """The overdue among `rows` (child key, row); nothing if `timeout` (s) is 0 or it is too early."""
        if now < self.due:
            return []
        slept = now - self._last > 3 * self._interval + 1.0
        self._last = now
        self._interval = min(SLOWEST, max(FASTEST, timeout / 4)) if timeout else SLOWEST
        self.due = now + self._interval if timeout else FOREVER
        if slept or not timeout:
            return []
        found: list[ev.Event] = []
        for key, row in rows:
            silent = now - row[Word.BEAT_NS] / 1e9
            lanes = row.lanes()
            if silent > timeout + IDLE_BEAT:
                doing = f" at {lanes[0].text!r}" if lanes else ""
                what = f"silent for {silent:.1f} s{doing} (timeout = {timeout:g} s)"
                found.append(ev.Overdue(key, silent, what))
        return found
