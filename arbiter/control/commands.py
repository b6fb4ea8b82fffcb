"""The commands of a running arbiter, once: the verb, the signal that stands for it, and its help.

Neighbours: `supervisor.watch` turns signals into verbs, `supervisor.policy` obeys verbs, docs/signals.md is
checked against this table. Its one rule: whatever can be asked of an arbiter stands here, so that every way
of asking means the same.
"""

from __future__ import annotations

import enum
import signal
from dataclasses import dataclass
from typing import Final


class Verb(enum.Enum):
    """What can be asked."""

    STOP = "stop"
    QUIT = "quit"
    RELOAD = "reload"
    SCALE_UP = "scale-up"
    SCALE_DOWN = "scale-down"
    REOPEN_LOGS = "reopen-logs"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Command:
    """One row: the verb, its signals (first the usual one) and what it does."""

    verb: Verb
    signals: tuple[signal.Signals, ...]
    help: str


COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        Verb.STOP,
        (signal.SIGTERM,),
        "Graceful stop: answer what has begun and what is queued, within graceful_timeout; "
        "a second time: quick stop.",
    ),
    Command(Verb.QUIT, (signal.SIGINT, signal.SIGQUIT), "Quick stop: running requests are cut and logged."),
    Command(
        Verb.RELOAD,
        (signal.SIGHUP,),
        "Reload configuration and application: new workers must be ready before old ones go; "
        "if they fail, the old ones stay.",
    ),
    Command(Verb.SCALE_UP, (signal.SIGTTIN,), "One worker more."),
    Command(Verb.SCALE_DOWN, (signal.SIGTTOU,), "One worker less, but never none."),
    Command(Verb.REOPEN_LOGS, (signal.SIGUSR1,), "Reopen the log files, after a rotation."),
    Command(
        Verb.PAUSE,
        (signal.SIGWINCH,),
        "Stop all workers gracefully and keep the arbiter (only when daemonized); a reload brings them back.",
    ),
)

BY_SIGNAL: Final[dict[int, Command]] = {number: row for row in COMMANDS for number in row.signals}
