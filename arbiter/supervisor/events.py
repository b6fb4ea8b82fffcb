"""What can happen to an arbiter, one record each.

Neighbours: `watch` and `arbiter` make them, `policy` consumes them. Its one rule: an event states a fact and
carries plain values, so a simulator can make any history of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from arbiter.control.commands import Verb
from arbiter.link.messages import BootFailed
from arbiter.supervisor.book import Rules


@dataclass(frozen=True, slots=True)
class Asked:
    """An operator asks for something; `origin` says how ("signal HUP"). `loads` are requests in work by
    child key; `amount` is the number for scaling, `key` the child for what concerns one; `ticket`: whoever
    asked wants to know what becomes of it.
    """

    verb: Verb
    origin: str
    loads: Mapping[int, int] = field(default_factory=dict)
    amount: int = 1
    key: int = 0
    ticket: int = 0


@dataclass(frozen=True, slots=True)
class Needed:
    """The load asks for `workers`, and `why`; `limit`: why it gets fewer than it needs. `loads` as in
    `Asked`.
    """

    workers: int
    why: str
    limit: str = ""
    loads: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Forked:
    """Child `key` exists."""

    key: int
    pid: int


@dataclass(frozen=True, slots=True)
class ForkFailed:
    """Child `key` could not be made: the system refused, a pre_fork hook raised, or its mold died."""

    key: int
    problem: str
    mold_died: bool = False


@dataclass(frozen=True, slots=True)
class MoldReady:
    """Mold `key` has loaded the application, which took `seconds`. unsafe: what forbids to fork it; notes:
    what was put right.
    """

    key: int
    kind: str
    unsafe: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """Child `key` has begun a step of its start."""

    key: int
    step: str


@dataclass(frozen=True, slots=True)
class Booted:
    """Child `key` is ready."""

    key: int
    kind: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Child `key` cannot start, and why."""

    key: int
    report: BootFailed


@dataclass(frozen=True, slots=True)
class WantsOut:
    """Child `key` asks for a replacement, or has to be replaced; `urgent`: it must not serve until that is
    there.
    """

    key: int
    reason: str
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the generation of soaking child `key` has answered so far, and what the others have (requests,
    5xx).
    """

    key: int
    requests: int
    errors: int
    base_requests: int
    base_errors: int


@dataclass(frozen=True, slots=True)
class Slow:
    """Child `key` has been at the request `text` for `age` seconds: worth a record, no measure."""

    key: int
    text: str
    age: float


@dataclass(frozen=True, slots=True)
class Overdue:
    """Child `key` serves, but is stuck for `seconds`; `what` says at what and how. `others` are its
    threads that still answer.
    """

    key: int
    seconds: float
    what: str
    others: int = 0


@dataclass(frozen=True, slots=True)
class InWork:
    """Child `key`, which was stuck and drains, has these requests in work, with ages in seconds, and
    `others` connections but for those whose requests are late.
    """

    key: int
    requests: tuple[tuple[str, float], ...]
    others: int


@dataclass(frozen=True, slots=True)
class LetOff:
    """Child `key` is late through no fault of its own; `why` says so."""

    key: int
    why: str


@dataclass(frozen=True, slots=True)
class Gone:
    """Child `key` has been reaped; `status` as from waitpid(2).

    requests: what was in work in it, with ages in seconds; no_memory: the kernel has killed for memory in
    our cgroup.
    """

    key: int
    status: int
    requests: tuple[tuple[str, float], ...] = ()
    no_memory: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """A reload's configuration was accepted and is generation `generation`; `said` tells what changed."""

    generation: int
    rules: Rules
    said: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A reload's configuration was refused; `back`: a rollback cannot begin."""

    problem: str
    back: bool = False


@dataclass(frozen=True, slots=True)
class Proved:
    """What is installed (`version`: "arbiter 0.2.0 on Python 3.12.1") can take over from what runs
    (`running`).
    """

    version: str
    running: str


@dataclass(frozen=True, slots=True)
class Unproved:
    """It cannot, or the exec has failed; `report` is what it printed, or ""."""

    problem: str
    report: str = ""


@dataclass(frozen=True, slots=True)
class Unripe:
    """Something is under way that an exec would cut; nothing was done."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing but time has passed."""


Event: TypeAlias = (
    Asked
    | Needed
    | Forked
    | ForkFailed
    | MoldReady
    | Step
    | Booted
    | Failed
    | WantsOut
    | Inspected
    | Slow
    | Overdue
    | InWork
    | LetOff
    | Gone
    | Loaded
    | Refused
    | Proved
    | Unproved
    | Unripe
    | Tick
)
