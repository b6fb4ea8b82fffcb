"""How many workers the load asks for: more at once, fewer slowly.

Neighbours: `scaler` takes the samples and asks, `scaling` obeys. Its one rule: pure; samples in, verdicts
out, so that tests/autoscale.py can play it against other servers' rules (docs/autoscale.md).

The load is counted in workers: how many of them requests keep busy, and what the connections that wait would
add. A worker should be busy for `TARGET` of its time, so that a request that comes finds one free. Who is one
too few loses requests' time at once, who is one too many costs a little memory: hence the haste one way and
the patience the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

TARGET: Final = 0.6
"""The share of a worker's time that requests should take."""
HORIZON: Final = 0.25
"""Seconds in which what waits should be worked off: shorter requests count in proportion, longer ones
whole.
"""
FALL: Final = 10.0
"""Time constant (s) with which the load that is believed falls to what it is; it rises at once."""
CALM: Final = 30.0
"""Seconds for which fewer workers must have been enough before one goes."""
STEP: Final = 15.0
"""Seconds until the next."""
PART: Final = 10
"""Of so many workers one goes at a time, and always at least one."""
UNDONE: Final = 60.0
"""Seconds within which a rise shows that the fall before was wrong: the next needs twice the calm."""
LONGEST_CALM: Final = 480.0


@dataclass(frozen=True, slots=True)
class Load:
    """What there is to do at `now` (monotonic s)."""

    now: float
    busy: float
    """Workers that requests keep busy, on the average of the last two seconds."""
    queued: int = 0
    """Connections that wait to be accepted."""
    service: float = math.inf
    """How long a request keeps its place in a worker, on the average (s); infinite if not known."""
    places: int = 1
    """Requests that a worker can have in work at once."""

    @property
    def demand(self) -> float:
        """All of it, in workers."""
        return self.busy + self.queued * min(1.0, self.service / HORIZON) / self.places


@dataclass(frozen=True, slots=True)
class Room:
    """How many workers more there may be; `why` says what forbids further ones, `kind` in one word."""

    workers: int
    kind: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """So many workers there should be, for this reason; `limit`: why there are not as many as are needed."""

    workers: int
    why: str
    limit: str = ""


class Autoscale:
    """The rule and what it remembers; see the module's text. least, most: bounds of the number of workers."""

    def __init__(self, least: int, most: int, now: float) -> None:
        self.least = least
        self.most = most
        self.needed = least
        """Workers that the load last asked for, whatever the bounds."""
        self._level = 0.0
        self._seen = now
        self._calm = CALM
        self._calm_since = now
        self._lowered = -math.inf
        self._limits: dict[str, float] = {}

    def look(self, load: Load, have: int, room: Callable[[int], Room]) -> Verdict | None:
        """What is to change while `have` workers are there or on their way; None for nothing.

        room: asked, for a number of workers, whether there may be so many more.
        """
        kept = math.exp(-max(0.0, load.now - self._seen) / FALL)
        self._level = load.demand + max(0.0, self._level - load.demand) * kept
        self._seen = load.now
        self.needed = max(self.least, _workers(load.demand))
        if self.needed > have:
            self._calm_since = load.now
            return self._rise(load, have, room)
        return self._fall(load.now, have)

    def _rise(self, load: Load, have: int, room: Callable[[int], Room]) -> Verdict | None:
        wanted = min(self.needed, self.most)
        granted = room(wanted - have) if wanted > have else Room(0)
        workers = max(min(wanted, have + granted.workers), min(self.least, self.most))
        why = f"load {load.busy:.1f}, {load.queued} queued: {self.needed} needed"
        limit = ""
        if workers < wanted:
            limit = self._limited(granted.kind, f"{why}; {granted.why}", load.now)
        elif wanted < self.needed:
            limit = self._limited("most", f"{why}; workers_max = {self.most}", load.now)
        if workers > have:
            undone = load.now - self._lowered < UNDONE
            self._calm = min(2 * self._calm, LONGEST_CALM) if undone else max(self._calm / 2, CALM)
        return Verdict(max(workers, have), why, limit) if workers > have or limit else None

    def _limited(self, kind: str, text: str, now: float) -> str:
        """The text, once for each time that something limits."""
        last, self._limits[kind] = self._limits.get(kind, -math.inf), now
        return text if now - last > UNDONE else ""

    def _fall(self, now: float, have: int) -> Verdict | None:
        enough = max(self.least, _workers(self._level))
        if enough >= have:
            self._calm_since = now
            return None
        if now < self._calm_since + self._calm or now < self._lowered + STEP:
            return None
        self._lowered = now
        why = f"load {self._level:.1f} for {now - self._calm_since:.0f} s: {enough} needed"
        return Verdict(max(enough, have - max(1, have // PART)), why)


def _workers(demand: float) -> int:
    """How many keep to `TARGET` with that."""
    return math.ceil(demand / TARGET - 1e-9)
