"""Arbiter's rule for the number of workers against those of uWSGI and php-fpm, played on the same loads.

`python -m tests.autoscale` prints the table of docs/autoscale.md; `make docs` writes it, a test compares it.
A load is a list of requests: when each comes and how long it keeps a worker. One queue, workers that do one
request at a time and need some time to start, and once in a while a rule that says how many there should be.
Nothing here waits or measures: the clock is a number, and every run gives the same.

The rules of others are written from what their documentation says; each is asked as often as theirs are.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from arbiter.supervisor.autoscale import Autoscale, Load, Room

LEAST, MOST = 4, 24
SERVICE = 0.138
"""Seconds a request takes, on the average."""
BOOTS = {"forked from a mold, 0.02 s": 0.02, "loading the application, 4 s": 4.0}
Request = tuple[float, float]
"""When it comes, how long it takes (s)."""


# -- loads


def arrivals(rate: Callable[[float], float], until: float, seed: int, most: float) -> Iterator[Request]:
    """Requests that come at random, `rate(now)` a second and never more than `most`."""
    chance = random.Random(seed)
    now = 0.0
    while (now := now + chance.expovariate(most)) < until:
        if chance.random() * most < rate(now):
            yield now, chance.expovariate(1 / SERVICE)


def _step(now: float) -> float:
    return 140.0 if 60 <= now < 120 else 30.0


def _ramp(now: float) -> float:
    return 10.0 + 150.0 * max(0.0, 1 - abs(now - 120) / 100)


def _bursts() -> list[Request]:
    """Quiet traffic, and every half minute 150 requests within half a second."""
    chance = random.Random(3)
    more = [
        (start + chance.random() / 2, chance.expovariate(1 / SERVICE))
        for start in range(20, 240, 30)
        for _ in range(150)
    ]
    return sorted([*arrivals(lambda now: 15.0, 240.0, 4, 15.0), *more])


LOADS: dict[str, Callable[[], list[Request]]] = {
    "step: 30/s, 140/s for a minute, 30/s": lambda: list(arrivals(_step, 240.0, 1, 140.0)),
    "ramp: 10/s to 160/s and back in 200 s": lambda: list(arrivals(_ramp, 240.0, 2, 160.0)),
    "bursts: 15/s, and 150 at once each 30 s": _bursts,
    "steady: 60/s": lambda: list(arrivals(lambda now: 60.0, 240.0, 5, 60.0)),
}


# -- the world


@dataclass
class World:
    """Workers and what waits for them."""

    boot: float
    now: float = 0.0
    idle: int = LEAST
    serving: list[float] = field(default_factory=list)
    """When each busy worker is done; a heap."""
    booting: list[float] = field(default_factory=list)
    queue: deque[Request] = field(default_factory=deque)
    leaving: int = 0
    """Busy workers too many."""
    waits: list[float] = field(default_factory=list)
    spent: float = 0.0
    """Seconds that requests have kept workers, till now."""
    paid: float = 0.0
    """Seconds of workers, till now."""
    done: int = 0
    changes: int = 0

    @property
    def have(self) -> int:
        """Workers there or on their way."""
        return self.idle + len(self.serving) - self.leaving + len(self.booting)

    def resize(self, wanted: int) -> None:
        """Have so many."""
        wanted = min(max(wanted, LEAST), MOST)
        self.changes += wanted != self.have
        while self.have < wanted:
            if self.leaving:
                self.leaving -= 1
            else:
                heapq.heappush(self.booting, self.now + self.boot)
        while self.have > wanted:
            if self.booting:
                self.booting.pop()
                heapq.heapify(self.booting)
            elif self.idle:
                self.idle -= 1
            else:
                self.leaving += 1

    def advance(self, until: float) -> None:
        """Everything that ends before then does."""
        while True:
            times = [heap[0] for heap in (self.serving, self.booting) if heap]
            if not times or min(times) > until:
                break
            when = min(times)
            self._pass(when)
            if self.booting and self.booting[0] == when:
                heapq.heappop(self.booting)
                self.idle += 1
            else:
                heapq.heappop(self.serving)
                self.done += 1
                if self.leaving:
                    self.leaving -= 1
                else:
                    self.idle += 1
            self._serve()
        self._pass(until)

    def comes(self, request: Request) -> None:
        """A request comes now."""
        self.queue.append(request)
        self._serve()

    def _pass(self, when: float) -> None:
        self.spent += (when - self.now) * len(self.serving)
        self.paid += (when - self.now) * (self.have + self.leaving)
        self.now = when

    def _serve(self) -> None:
        while self.queue and self.idle:
            came, takes = self.queue.popleft()
            self.idle -= 1
            self.waits.append(self.now - came)
            heapq.heappush(self.serving, self.now + takes)


# -- rules


class Rule:
    """Says how many workers there should be, every `period` seconds."""

    period = 1.0

    def tick(self, world: World) -> int:
        """The number of workers from now on."""
        raise NotImplementedError


class Static(Rule):
    """As many as there may be."""

    def tick(self, world: World) -> int:
        return MOST


class Spare(Rule):
    """uWSGI cheaper-algo = spare: all busy for `cheaper-overload` ticks: one more; several idle: one less."""

    overload = 3

    def __init__(self) -> None:
        self._busy = self._idle = 0

    def tick(self, world: World) -> int:
        self._busy = self._busy + 1 if not world.idle else 0
        self._idle = self._idle + 1 if world.idle > 1 else 0
        if self._busy > self.overload:
            self._busy = 0
            return world.have + 1
        if self._idle > self.overload:
            self._idle = 0
            return world.have - 1
        return world.have


class Spare2(Rule):
    """uWSGI cheaper-algo = spare2: `cheaper` idle ones; up to `cheaper-step` more at a time, one less after
    `cheaper-idle` ticks.
    """

    step = 4
    patience = 10

    def __init__(self) -> None:
        self._idle = 0

    def tick(self, world: World) -> int:
        missing = LEAST - world.idle - len(world.booting)
        self._idle = self._idle + 1 if missing < 0 else 0
        if missing > 0:
            return world.have + min(self.step, missing)
        if self._idle > self.patience:
            self._idle = 0
            return world.have - 1
        return world.have


class Backlog(Rule):
    """uWSGI cheaper-algo = backlog: more than `cheaper-overload` wait: one more; none waits: one less."""

    overload = 3

    def tick(self, world: World) -> int:
        if len(world.queue) > self.overload:
            return world.have + 1
        return world.have - (1 if not world.queue and world.idle else 0)


class Busyness(Rule):
    """uWSGI cheaper-algo = busyness, windows of 10 s: above 50 % busy one more, below 25 % for ten windows
    one less; a stop undone too soon costs two windows more; more than 33 in the queue: emergency workers.
    """

    window = 10
    high, low = 0.50, 0.25
    multiplier, penalty = 10, 2
    alert, step = 33, 1

    def __init__(self) -> None:
        self._tick = self._calm = self._middling = 0
        self._spent = 0.0
        self._patience = self.multiplier
        self._stopped = -1000

    def tick(self, world: World) -> int:
        self._tick += 1
        if len(world.queue) > self.alert:
            return world.have + 1
        if self._tick % self.window:
            return world.have
        there = world.idle + len(world.serving)
        busy = (world.spent - self._spent) / self.window / max(1, there)
        self._spent = world.spent
        if busy > self.high:
            if self._tick - self._stopped <= self.window * self._patience:
                self._patience += self.penalty
            self._calm = 0
            return world.have + self.step
        if busy < self.low:
            self._calm, self._middling = self._calm + 1, 0
            if self._calm >= self._patience:
                self._calm, self._stopped = 0, self._tick
                return world.have - 1
        else:
            self._middling += 1
            if self._middling >= 3:
                self._calm = self._middling = 0
        return world.have


class PhpFpm(Rule):
    """php-fpm pm = dynamic: fewer idle than `min_spare_servers`: 1, 2, 4 .. 32 more; more than
    `max_spare_servers`: one less.
    """

    min_spare, max_spare = 3, 8

    def __init__(self) -> None:
        self._rate = 1

    def tick(self, world: World) -> int:
        idle = world.idle + len(world.booting)
        if idle < self.min_spare:
            more = min(self._rate, self.min_spare - idle)
            self._rate = min(2 * self._rate, 32)
            return world.have + more
        self._rate = 1
        return world.have - (1 if idle > self.max_spare else 0)


class Arbiters(Rule):
    """The rule itself, fed as `supervisor.scaler` feeds it."""

    period = 0.5

    def __init__(self) -> None:
        self._rule = Autoscale(LEAST, MOST, 0.0)
        self._looks: deque[tuple[float, float, int]] = deque([(0.0, 0.0, 0)], maxlen=5)

    def tick(self, world: World) -> int:
        self._looks.append((world.now, world.spent, world.done))
        (then, spent, done), *_ = self._looks
        busy = (world.spent - spent) / (world.now - then)
        service = (world.spent - spent) / max(1, world.done - done)
        load = Load(world.now, busy, len(world.queue), service)
        verdict = self._rule.look(load, world.have, Room)
        return verdict.workers if verdict else world.have


RULES: dict[str, Callable[[], Rule]] = {
    "arbiter": Arbiters,
    "uWSGI spare": Spare,
    "uWSGI spare2": Spare2,
    "uWSGI backlog": Backlog,
    "uWSGI busyness": Busyness,
    "php-fpm dynamic": PhpFpm,
    "24 workers": Static,
}


# -- the table


@dataclass(frozen=True)
class Outcome:
    """How it went: what 99 of 100 requests waited at most (s), workers on the average, changes of their
    number.
    """

    wait: float
    workers: float
    changes: int


def play(requests: list[Request], rule: Rule, boot: float) -> Outcome:
    """One load under one rule."""
    world = World(boot)
    if isinstance(rule, Static):
        world.idle = MOST
    end = requests[-1][0]
    ticks = (rule.period * number for number in itertools.count(1))
    due = next(ticks)
    for request in requests:
        while due <= request[0]:
            world.advance(due)
            world.resize(rule.tick(world))
            due = next(ticks)
        world.advance(request[0])
        world.comes(request)
    paid = world.paid
    world.advance(2 * end)
    waits = sorted(world.waits)
    return Outcome(waits[int(len(waits) * 0.99)], paid / end, world.changes)


def table() -> str:
    """All of it, in Markdown."""
    lines = []
    for boot, seconds in BOOTS.items():
        lines += [f"| a worker is there after {boot} | " + " | ".join(LOADS) + " |"]
        lines += ["| --- |" + " --- |" * len(LOADS)]
        loads = [make() for make in LOADS.values()]
        for name, rule in RULES.items():
            outcomes = [play(load, rule(), seconds) for load in loads]
            cells = [f"{one.wait:.2f} s, {one.workers:.0f}, {one.changes}" for one in outcomes]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines[:-1])


if __name__ == "__main__":
    print(table())
