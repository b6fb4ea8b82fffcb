"""Whether a worker has its share of the connections, or more than its share.

Neighbours: `accept` asks after each connection that it has taken; the scoreboard tells what the siblings
have. Its one rule: nobody waits for evenness. A pause is a few milliseconds, and one that was of no use,
because the sibling it was meant for took nothing, is not repeated for a while.

Short connections need no gate: whoever is free takes the next one, which is as even as the work is. Kept ones
do. A burst of them would stay for hours with whoever woke first (measured with 200 over four workers of
servers without a gate: 102, 66, 31, 1).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from arbiter.link.relay import Relay
from arbiter.link.scoreboard import Row, Scoreboard, State, Word

TOLERATED: Final = 3
"""Connections more than the least loaded sibling has, at which a worker still stays; or an eighth, if more.
"""
STEP: Final = 0.0005
LONGEST: Final = 0.005
"""Seconds of pause for each connection too many, and at most."""
DOUBT: Final = 0.25
"""Seconds without a pause after one that was of no use."""
FRESH: Final = 1.0
"""Seconds after which it is looked up again who the siblings are."""
ASKED: Final = 8
"""Siblings looked at after one accept, at most."""

MOVE: Final = -1.0
"""In the place of a pause: let a sibling go first the next time."""

_STATE: Final = int(Word.STATE)
_READY: Final = int(State.READY)
_CONNECTIONS: Final = int(Word.CONNECTIONS)
_ACCEPTING: Final = int(Word.ACCEPTING)
_ACCEPTED: Final = int(Word.ACCEPTED)
_FIRST_LANE: Final = int(Word.LANES)


class Gate:
    """One worker's view of its siblings.

    row: the worker's own; load: how many connections it has. away: a sibling with a request in work takes no
    connection now (sync workers).
    """

    def __init__(
        self,
        scoreboard: Scoreboard,
        row: Row,
        load: Callable[[], int],
        *,
        away: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scoreboard = scoreboard
        self._row = row
        self._load = load
        self._away = away
        self._clock = clock
        self._siblings: Sequence[memoryview] = ()
        self._turn = 0
        self._looked = -FRESH
        self._open_until = 0.0
        self._favoured: tuple[memoryview, int] | None = None
        """The sibling for which this worker pauses, and how many connections it had taken in its life."""

    def accepting(self, yes: bool) -> None:
        """Tell the siblings whether this worker watches its listeners."""
        self._row.words[_ACCEPTING] = yes

    @property
    def relay(self) -> Relay:
        """By which siblings are woken."""
        return self._scoreboard.relay

    def pass_on(self) -> None:
        """Wake a sibling for a connection that this worker leaves in the queue, if one would take it.

        Whoever begins to accept later, or again, looks at the queue first.
        """
        self._look_up(self._clock())
        if self._least() is not None:
            self._scoreboard.relay.pass_on()

    def after_accept(self) -> float:
        """The worker has taken a connection: 0 to go on, MOVE, or for how many seconds to leave the rest."""
        now = self._clock()
        self._look_up(now)
        least = self._least()
        if least is None:
            return 0.0
        load = self._load()
        excess = load - int(least[_CONNECTIONS])
        if excess <= max(TOLERATED, load >> 3) or now < self._open_until:
            return MOVE if excess > 0 else 0.0
        self._favoured = least, int(least[_ACCEPTED])
        return min(LONGEST, STEP * excess)

    def was_of_use(self, waiting: bool) -> None:
        """A pause is over, and a connection was still `waiting`: had the favoured sibling taken any?"""
        favoured, self._favoured = self._favoured, None
        if waiting and favoured is not None and favoured[0][_ACCEPTED] == favoured[1]:
            self._open_until = self._clock() + DOUBT

    def _look_up(self, now: float) -> None:
        """Who the siblings are."""
        if now - self._looked >= FRESH:
            self._looked = now
            self._siblings = self._scoreboard.others(self._row.index)

    def _least(self) -> memoryview | None:
        """The sibling with the fewest connections, of those that would take one."""
        siblings = self._siblings
        if len(siblings) > ASKED:
            self._turn = (self._turn + 1) % len(siblings)
            siblings = [*siblings[self._turn :], *siblings[: self._turn]][:ASKED]
        least, fewest = None, 1 << 62
        for words in siblings:
            count = words[_CONNECTIONS]
            if (
                count < fewest
                and words[_ACCEPTING]
                and words[_STATE] == _READY
                and not (self._away and words[_FIRST_LANE])
            ):
                least, fewest = words, count
        return least
