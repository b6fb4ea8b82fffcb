"""The arbiter's book: what there is, and what there should be.

Neighbours: `policy` is the only writer, the control plane and the log read it. Its one rule: plain data,
with only such questions as its readers share.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from arbiter.link.messages import BootFailed
from arbiter.supervisor.backoff import Backoff
from arbiter.supervisor.states import SERVING, State

FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings the policy goes by, of one generation. Seconds, except for counts of workers."""

    workers: int
    boot_timeout: float
    graceful_timeout: float
    surge: int
    can_pause: bool = False
    soak: float = 0.0
    """How long a worker of a new generation serves beside its predecessor before that one drains."""
    drain_delay: float = 0.0
    """How long a stop waits, serving on, until load balancers have noticed."""
    preload: str = "off"
    """Whether workers are forked from a mold: "on", "auto" (if the application survives a fork) or "off"."""
    rollback_keep: float = 0.0
    """How long the mold of the generation before is kept."""
    least: int = 1
    most: int = 0
    """Bounds between which the number of workers follows the load; `most` 0: it does not."""


class Phase(enum.Enum):
    """What the arbiter is about."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


@dataclass(slots=True)
class Child:
    """One worker process. `key` is its age: it rises by one with each fork and is never used again."""

    key: int
    slot: int
    generation: int
    state: State = State.BOOTING
    pid: int = 0
    step: str = "fork"
    mold: int = 0
    """The key of the mold it is forked from; 0: it loads the application by itself."""
    since: float = 0.0
    """When it came into this state (monotonic)."""
    deadline: float = FOREVER
    """When the next measure is due: boot_timeout, the end of a drain, the kill after a quit."""
    reason: str = ""
    """Why it was told to go, or asked to."""
    report: BootFailed | None = None
    kind: str = ""
    """"sync", "threaded" or "asgi", once it is ready."""
    soaking: bool = False
    """It serves, is of a new generation, and has not proved itself; its predecessor serves on."""
    others: int = 0
    """When it got stuck: threads in it that still answer."""
    told: bool = False
    """It is stuck, and TERM has been sent."""
    end: float = FOREVER
    """When its drain is over, once it has said that it drains (monotonic s)."""

    @property
    def name(self) -> str:
        """The process's name in every log: `worker 3 (gen 2, pid 41)`."""
        return f"worker {self.slot} (gen {self.generation}, pid {self.pid})"


class MoldState(enum.Enum):
    """Where a mold stands."""

    BUILDING = "building"
    READY = "ready"
    MELTING = "melting"
    """It is not needed, or of no use; only its reaping is left."""


@dataclass(slots=True)
class Mold:
    """One mold process; `key` as with children, from the same count."""

    key: int
    generation: int
    state: MoldState = MoldState.BUILDING
    pid: int = 0
    step: str = "exec"
    since: float = 0.0
    deadline: float = FOREVER

    @property
    def name(self) -> str:
        """The process's name in every log: `mold (gen 2, pid 41)`."""
        return f"mold (gen {self.generation}, pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Kept:
    """A generation that was in force and can be again: its mold sleeps `until` then (monotonic s)."""

    generation: int
    rules: Rules
    until: float


@dataclass(slots=True)
class Rollout:
    """A reload on its way; `back`: to a generation that was in force before."""

    generation: int
    rules: Rules
    back: bool = False
    proved: bool = False
    """A worker of the new generation has become ready and passed its soak."""


@dataclass(slots=True)
class Upgrade:
    """An upgrade in place on its way; `origin`: who asked for it."""

    origin: str
    running: str = ""
    """The program that runs, once `proved` is known: what is installed and can take over."""
    proved: str = ""
    again: float = 0.0
    """When the exec is to be tried again (monotonic s); 0: as soon as may be, infinity: it is being tried."""
    tries: int = 0


@dataclass(slots=True)
class Book:
    """Everything the policy knows."""

    rules: Rules
    generation: int = 1
    """The committed generation: crashed workers are replaced from it."""
    newest: int = 1
    """The highest generation number given out."""
    phase: Phase = Phase.STARTING
    slots: set[int] = field(default_factory=set)
    """The worker numbers that should be filled; their count is the number of workers wanted."""
    children: dict[int, Child] = field(default_factory=dict)
    molds: dict[int, Mold] = field(default_factory=dict)
    direct: set[int] = field(default_factory=set)
    """Generations that have no mold by decision: their workers load the application by themselves."""
    kept: Kept | None = None
    """What a rollback would go back to."""
    last_resort: bool = False
    """The mold of the generation in force is dead and could not be made anew."""
    cast_at: float = 0.0
    """When the next attempt is due (monotonic s; 0: at once)."""
    next_key: int = 1
    rollout: Rollout | None = None
    upgrade: Upgrade | None = None
    loading: bool = False
    """A configuration is being read; `Loaded` or `Refused` will come."""
    reload_again: bool = False
    """A reload was asked for while one was being read."""
    paused: bool = False
    pinned: bool = False
    """An operator holds the number of workers, which would follow the load."""
    withheld: bool = False
    """An operator wants load balancers to turn away: not ready, though all goes on."""
    most: int = 4096
    """The most slots that may be asked for."""
    served: bool = False
    """Some worker has been ready at some time; from then on the arbiter never gives up."""
    leave_at: float = FOREVER
    """When a stop that was asked for begins (monotonic s); until then everything goes on."""
    quick: bool = False
    """The stop is a quick one."""
    exit_status: int = 0
    corpses: Counter[str] = field(default_factory=Counter)
    """How many workers died with this request in work."""
    backoff: Backoff = field(default_factory=Backoff)
    casting: Backoff = field(default_factory=Backoff)
    """The same, for molds."""

    @property
    def bounds(self) -> tuple[int, int]:
        """From how many slots to how many there may be."""
        if not self.rules.most:
            return 1, self.most
        return min(self.rules.least, self.most), min(self.rules.most, self.most)

    @property
    def wanted_generation(self) -> int:
        """The generation every slot should be on."""
        return self.rollout.generation if self.rollout else self.generation

    def mold(self, generation: int) -> Mold | None:
        """The mold that workers of the generation are forked from, if it is ready."""
        ready = (mold for mold in self.molds_of(generation) if mold.state is MoldState.READY)
        return next(ready, None)

    def molds_of(self, generation: int) -> list[Mold]:
        """The generation's molds, but for those that are let go."""
        return [
            mold
            for mold in self.molds.values()
            if mold.generation == generation and mold.state is not MoldState.MELTING
        ]

    def can_fork(self, generation: int) -> bool:
        """Whether workers of the generation can be made now."""
        if generation in self.direct or self.mold(generation) is not None:
            return True
        return generation == self.generation and self.last_resort

    def must_wait(self, generation: int, now: float) -> bool:
        """Whether workers of the generation went wrong too often, too lately; a new one has a fresh start."""
        return generation == self.generation and now < self.backoff.until

    def begin_anew(self) -> None:
        """Another generation is in force: what went wrong with the one before is over."""
        self.backoff.forgive()
        self.casting.forgive()
        self.cast_at, self.last_resort = 0.0, False

    def serving(self, slot: int | None = None) -> Iterator[Child]:
        """Children that accept, of one slot or of all."""
        for child in self.children.values():
            if child.state in SERVING and slot in (None, child.slot):
                yield child

    def coming(self, slot: int | None = None) -> Iterator[Child]:
        """Children on their way to take a slot: booting or soaking, of one slot or of all."""
        for child in self.children.values():
            if (child.state is State.BOOTING or child.soaking) and slot in (None, child.slot):
                yield child
