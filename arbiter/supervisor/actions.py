"""What the policy can have done, one record each.

Neighbours: `policy` returns them, `arbiter` performs them. Its one rule: an action says what, never how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from arbiter.errors import ExitStatus


@dataclass(frozen=True, slots=True)
class Fork:
    """Make child `key` for `slot` out of `generation`, from mold `mold` or (0) from the arbiter itself;
    answered by `Forked` or `ForkFailed`.
    """

    key: int
    slot: int
    generation: int
    mold: int = 0


@dataclass(frozen=True, slots=True)
class Cast:
    """Start mold `key` of `generation`; answered by `Forked` or `ForkFailed`, then by what it says."""

    key: int
    generation: int


@dataclass(frozen=True, slots=True)
class Melt:
    """Let mold `key` go; its `Gone` will follow."""

    key: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Make a generation that was kept ready to be forked from; answered by `Loaded` or `Refused`."""

    generation: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send a signal to child `key`; with `group`, to its whole process group."""

    key: int
    signal: int
    group: bool = False


@dataclass(frozen=True, slots=True)
class Dump:
    """Have child `key` write all its stacks, and put them into the log below `text`; `level` as in
    `logging`, `name` as in `control.happenings`.
    """

    key: int
    level: int
    text: str
    name: str


@dataclass(frozen=True, slots=True)
class Inspect:
    """Count what soaking child `key` and its like have answered; answered by `Inspected`."""

    key: int


@dataclass(frozen=True, slots=True)
class Examine:
    """See what is in work in child `key`, which was stuck and drains; answered by `InWork`."""

    key: int


@dataclass(frozen=True, slots=True)
class Load:
    """Read and check the configuration again; answered by `Loaded` or `Refused`."""

    generation: int


@dataclass(frozen=True, slots=True)
class Prove:
    """Have what is installed prove that it can take over; answered by `Proved` or `Unproved`."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Become what is installed; answered by `Unripe` or `Unproved` if this program is still there.

    anyway: also if somebody waits for stacks, or for the verdict on a configuration.
    """

    anyway: bool = False


@dataclass(frozen=True, slots=True)
class Commit:
    """`generation` is in force from now on; of all others only `kept` (0: none) may be needed again."""

    generation: int
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Abandon:
    """A reload to `generation` failed; it will not be forked from again."""

    generation: int


@dataclass(frozen=True, slots=True)
class Forget:
    """A generation that was kept is not needed any more, or (`kept`) not now: the rollback to it failed."""

    generation: int
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Say:
    """Put a record into the log and among the events; `level` as in `logging`, `name` as in
    `control.happenings`.
    """

    level: int
    text: str
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reopen:
    """Reopen the logs, here and in every worker."""


@dataclass(frozen=True, slots=True)
class Resized:
    """The number of workers wanted has changed (hook nworkers_changed)."""

    new: int
    old: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The first full set of workers is ready (hook when_ready, READY to the service manager)."""

    workers: int


@dataclass(frozen=True, slots=True)
class Settled:
    """A reload has ended, well or not; the service manager is told."""

    text: str


@dataclass(frozen=True, slots=True)
class Leaving:
    """A stop has been asked for and begins later: tell everybody that this one is going."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The arbiter is stopping: give up its own copies of the listeners."""


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave the loop: no child is left."""

    status: ExitStatus


Action: TypeAlias = (
    Fork
    | Cast
    | Melt
    | Restore
    | Forget
    | Send
    | Dump
    | Inspect
    | Examine
    | Load
    | Prove
    | Replace
    | Commit
    | Abandon
    | Say
    | Reopen
    | Resized
    | Opened
    | Settled
    | Leaving
    | Closing
    | Exit
)
