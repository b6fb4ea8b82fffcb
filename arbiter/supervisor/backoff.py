"""When the next worker may be forked after things went wrong.

Neighbours: `policy` asks it. Its one rule: the first replacements come at once, repeated failure waits
longer each time up to a cap, and success forgives; time is an argument, chance is seeded.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from arbiter.supervisor.plain import HOME

FIRST: Final = 0.5
FACTOR: Final = 2.0
CAP: Final = 30.0
JITTER: Final = 0.2
"""Seconds, and the share by which a delay is varied either way (so that hosts do not retry in step)."""

TOKENS: Final = 5
REFILL: Final = 2.0
"""Deaths of ready workers that are answered at once, and the seconds after which one more is."""


@dataclass(slots=True)
class Backoff:
    """One arbiter's patience."""

    chance: random.Random = field(default_factory=lambda: random.Random(0x5EED), metadata={HOME: True})
    failures: int = 0
    """Failed boots (or deaths beyond the tokens) in a row."""
    until: float = 0.0
    """No fork before this time (monotonic s)."""
    tokens: float = float(TOKENS)
    stamped: float = 0.0

    def boot_failed(self, now: float) -> float:
        """A worker of the committed generation did not start; the seconds to wait.

        One that was forked before the wait began has nothing new to tell.
        """
        if now < self.until:
            return self.until - now
        delay = min(CAP, FIRST * FACTOR**self.failures) * self.chance.uniform(1 - JITTER, 1 + JITTER)
        self.failures += 1
        self.until = now + delay
        return delay

    def died(self, now: float) -> float:
        """A worker that was ready died; 0.0 while tokens last, else the seconds to wait."""
        self.tokens = min(float(TOKENS), self.tokens + max(0.0, now - self.stamped) / REFILL)
        self.stamped = now
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0.0
        return self.boot_failed(now)

    def look(self, now: float) -> None:
        """A delay that has passed is none."""
        if self.until <= now:
            self.until = 0.0

    def forgive(self) -> None:
        """What failed is not what is forked from now on."""
        self.failures = 0
        self.until = 0.0

    def succeeded(self) -> None:
        """A worker became ready."""
        if self.tokens >= 1.0:
            self.failures = 0
            self.until = 0.0
