"""Whether a worker has its share of the connections, or more than its share.

Neighbours: `accept` asks after each connection that it has taken; the scoreboard tells what the siblings
have. Its one rule: evenness is worth milliseconds and no more. A worker steps back only from connections that
wait, only for siblings that would take them, and of those that do not, or cannot keep up, it expects less and
less.

Short connections need no gate: whoever is free takes the next one, which is as even as the work is. Kept ones
do. A burst of them would stay for hours with whoever woke first (measured with 200 over four workers of
servers without a gate: 102, 66, 31, 1). All four are woken, but a burst is shorter than the time until the
last of them has a processor, and in that time the first could take them all.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from arbiter.link.relay import Relay
from arbiter.link.scoreboard import Row, Scoreboard, State, Word

TOLERATED: Final = 3
"""Connections more than a sibling has at which a worker does not step back; an eighth of its own, if more."""
LOOK: Final = 0.001
"""Seconds between two looks at the siblings while stepping back: the shortest sleep of an event loop."""
LOOKS: Final = 10
"""Looks after which a worker takes a connection again, whatever the siblings have done. Counted and not
timed: while it gets no processor for a look, they get none for a connection."""
LONGEST: Final = 0.025
"""Seconds after which it does so in any case."""
AGAIN: Final = 4
"""How many times as far it must be ahead before it steps back once more for a sibling that took nothing."""
PATIENCE: Final = 0.1
PATIENCE_SHARE: Final = 0.05
"""Seconds for which a worker may have stepped back while connections went on waiting, and how much of all
time may be spent so in the long run."""
BRIEF: Final = 0.01
"""Seconds for which a sibling may be busy with its requests and counts all the same."""
FRESH: Final = 1.0
"""Seconds after which it is looked up again who the siblings are."""
ASKED: Final = 8
"""Siblings looked at after one accept, at most."""

_STATE: Final = int(Word.STATE)
_READY: Final = int(State.READY)
_PID: Final = int(Word.PID)
_CONNECTIONS: Final = int(Word.CONNECTIONS)
_ACCEPTING: Final = int(Word.ACCEPTING)
_ACCEPTED: Final = int(Word.ACCEPTED)
_FIRST_LANE: Final = int(Word.LANES)


class Turn(enum.Enum):
    """Whose the next connection is."""

    OWN = enum.auto()
    """Nobody has fewer."""
    LAST = enum.auto()
    """Anybody's who is idle: the worker goes to the end of the line."""
    THEIRS = enum.auto()
    """A sibling's: the worker steps back, if a connection waits."""


class _Favoured(NamedTuple):
    """A sibling for which this worker steps back."""

    words: memoryview
    excess: int
    """How many connections more this worker had."""
    accepted: int
    """How many the sibling had taken in its life."""


class _Doubt(NamedTuple):
    """Of a sibling for which this worker stepped back and which took nothing."""

    beyond: int
    """The excess from which on it is given another chance."""
    accepted: int
    """It has taken another one since, and is as good as any, if it has taken more in its life."""


class Gate:
    """One worker's view of its siblings.

    row: the worker's own; load: how many connections it has. away: a sibling with a request in work takes no
    connection meanwhile (sync workers).
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
        self._favoured: list[_Favoured] = []
        self._doubts: dict[int, _Doubt] = {}
        self._looks = 0
        self._until = 0.0
        self._patience = PATIENCE
        self._patience_at = clock()

    def accepting(self, yes: bool) -> None:
        """Tell the siblings whether this worker watches its listeners, or will within milliseconds."""
        self._row.words[_ACCEPTING] = 1 if yes else int(self._clock() * 1e9)

    @property
    def relay(self) -> Relay:
        """By which siblings are woken."""
        return self._scoreboard.relay

    def others_accept(self, now: float) -> bool:
        """Whether a sibling would take a connection that this worker leaves in the queue."""
        self._look_up(now)
        return any(True for _ in self._would_take(self._siblings, now))

    def pass_on(self) -> None:
        """Wake a sibling for a connection that this worker leaves in the queue, if one would take it.

        Whoever begins to accept later, or again, looks at the queue first.
        """
        if self.others_accept(self._clock()):
            self._scoreboard.relay.pass_on()

    def after_accept(self) -> Turn:
        """The worker has taken a connection: whose is the next?"""
        now = self._clock()
        self._look_up(now)
        load = self._load()
        most, self._favoured = self._compare(load)
        if not self._favoured or not self._patient(now):
            return Turn.LAST if most > 0 else Turn.OWN
        self._looks = 0
        self._until = now + LONGEST
        return Turn.THEIRS

    def stay_back(self, waiting: bool) -> bool:
        """Asked at every look: whether to go on stepping back, as there are connections `waiting`, siblings
        still have fewer, and it has not been for too long.
        """
        if not waiting:
            return False
        self._looks += 1
        self._patience -= LOOK
        in_time = self._looks < LOOKS and self._clock() < self._until
        if in_time and self._compare(self._load())[1]:
            return True
        for words, excess, accepted in self._favoured:
            if words[_ACCEPTED] == accepted:
                self._doubts[words[_PID]] = _Doubt(AGAIN * excess, accepted)
        return False

    def _patient(self, now: float) -> bool:
        """Whether connections have not lately waited too long for siblings that do not keep up with them."""
        gained = PATIENCE_SHARE * (now - self._patience_at)
        self._patience = min(PATIENCE, self._patience + gained)
        self._patience_at = now
        return self._patience > 0

    def _look_up(self, now: float) -> None:
        """Who the siblings are."""
        if now - self._looked >= FRESH:
            self._looked = now
            self._siblings = self._scoreboard.others(self._row.index)
            pids = {words[_PID] for words in self._siblings}
            self._doubts = {pid: doubt for pid, doubt in self._doubts.items() if pid in pids}

    def _compare(self, load: int) -> tuple[int, list[_Favoured]]:
        """By how much `load` is more than the fewest that a sibling has, and who is to be favoured for it."""
        siblings = self._siblings
        if len(siblings) > ASKED:
            self._turn = (self._turn + 1) % len(siblings)
            siblings = [*siblings[self._turn :], *siblings[: self._turn]][:ASKED]
        tolerated = max(TOLERATED, load >> 3)
        most, favoured = 0, []
        for words in self._would_take(siblings, self._clock() - BRIEF):
            excess = load - words[_CONNECTIONS]
            most = max(most, excess)
            if excess > tolerated and not self._doubted(words, excess):
                favoured.append(_Favoured(words, excess, words[_ACCEPTED]))
        return most, favoured

    def _would_take(self, siblings: Sequence[memoryview], then: float) -> Iterator[memoryview]:
        """Those of the siblings that take connections, or did so `then` and are only busy since."""
        busy = int(then * 1e9)
        for words in siblings:
            accepting = words[_ACCEPTING]
            if (
                words[_STATE] == _READY
                and (accepting == 1 or accepting > busy)
                and not (self._away and 0 < words[_FIRST_LANE] <= busy)
            ):
                yield words

    def _doubted(self, words: memoryview, excess: int) -> bool:
        """Whether it is not worth while to step back for this sibling now."""
        doubt = self._doubts.get(words[_PID])
        if doubt is None or excess > doubt.beyond:
            return False
        if words[_ACCEPTED] != doubt.accepted:
            del self._doubts[words[_PID]]
            return False
        return True
