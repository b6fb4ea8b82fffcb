"""When the next worker may be forked after things went wrong.

Neighbours: `policy` asks it. Its one rule: the first replacements come at once, repeated failure waits
longer each time up to a cap, a low one while nobody serves, and success forgives; time is an argument,
chance is seeded.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from arbiter.supervisor.plain import HOME

FIRST: Final = 0.5
FACTOR: Final = 2.0
CAP: Final = 30.0
DOWN_CAP: Final = 4.0
"""When not a single worker is left: the site is down, and there is nobody whom an attempt could disturb."""
JITTER: Final = 0.2
"""Seconds, and the share by which a delay is varied either way (so that hosts do not retry in step)."""
LONGEST_DOWN: Final = DOWN_CAP * (1 + JITTER)

ENOUGH: Final = 16
"""Failures after which a delay grows no more; the power of a greater number would overflow some day."""

TOKENS: Final = 5
REFILL: Final = 2.0
"""Deaths of ready workers that are answered at once, and the seconds after which one more is."""
PROOF: Final = 3.0
"""Seconds that the first who becomes ready after more deaths must live before others are forked, too."""


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
    """Until when tokens have been given (monotonic s)."""
    proving: bool = False
    """Somebody has become ready after too many deaths, and has yet to show that it lives, `until` then."""

    report: str = ""
    """What the last failed boot told ..."""
    repeats: int = 0
    """... and how many in a row have told just that."""

    def told(self, report: str) -> int:
        """A failed boot tells `report`, "" if nothing: how many in a row have now told the same."""
        self.repeats = self.repeats + 1 if report == self.report else 1
        self.report = report
        return self.repeats

    def boot_failed(self, now: float, *, down: bool = False) -> float:
        """A worker of the committed generation did not start; the seconds to wait. down: nobody serves.

        One that was forked before the wait began has nothing new to tell.
        """
        self.look(now, down=down)
        if self.until:
            return self.until - now
        delay = min(DOWN_CAP if down else CAP, FIRST * FACTOR ** min(self.failures, ENOUGH))
        delay *= self.chance.uniform(1 - JITTER, 1 + JITTER)
        self.failures += 1
        self.until = now + delay
        return delay

    def died(self, now: float, *, down: bool = False) -> float:
        """A worker that was ready died; 0.0 while tokens last, else the seconds to wait. down: it was the
        last.
        """
        self.look(now, down=down)
        self.tokens = min(float(TOKENS), self.tokens + max(0.0, now - self.stamped) / REFILL)
        self.stamped = now
        if self.proving:
            self.proving, self.until, self.tokens = False, 0.0, 0.0
        elif self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0.0
        delay = self.boot_failed(now, down=down)
        if down:
            self.stamped = now + delay  # else each wait would pay for more deaths, and each has its record
        return delay

    def look(self, now: float, *, down: bool = False) -> None:
        """A delay that has passed is none, and none is long while nobody serves."""
        if self.until <= now:
            self.until = 0.0
            if self.proving:
                self.forgive()
        elif down:
            self.until = min(self.until, now + LONGEST_DOWN)

    def forgive(self) -> None:
        """What failed is not what is forked from now on."""
        self.failures = 0
        self.until = 0.0
        self.proving = False
        self.report, self.repeats = "", 0

    def succeeded(self, now: float) -> None:
        """A worker became ready."""
        if self.tokens >= 1.0:
            self.forgive()
        elif self.failures and not self.proving:
            self.until, self.proving = now + PROOF, True
