"""The commands of a running arbiter, once: word, signal, who may ask, parameters, help.

Neighbours: `supervisor.watch` turns signals into verbs, `supervisor.plane` answers words, `cli.ctl` makes
its command line and its completion of this table, docs/signals.md and docs/control.md are made from it. Its
one rule: whatever can be asked of an arbiter stands here, so that every way of asking means the same.
"""

from __future__ import annotations

import enum
import signal
from dataclasses import dataclass
from typing import Final


class Verb(enum.Enum):
    """What the policy can be asked for."""

    STOP = "stop"
    QUIT = "quit"
    RELOAD = "reload"
    ROLLBACK = "rollback"
    UPGRADE = "upgrade"
    SCALE = "scale"
    SCALE_UP = "scale-up"
    SCALE_DOWN = "scale-down"
    SCALE_AUTO = "scale-auto"
    RECYCLE = "recycle"
    KILL = "kill"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    REOPEN_LOGS = "reopen-logs"
    PAUSE = "pause"


class Role(enum.IntEnum):
    """What a peer of the control socket may do; each includes those before it."""

    OBSERVER = 1
    """Look."""
    OPERATOR = 2
    """Change what can be changed back: reload, scale, recycle, drain, logs."""
    ADMIN = 3
    """End things: stop, kill."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a word.

    name: on the wire; flags: empty for an argument, else as typed ("--wait"); kind: "switch", "number" or
    "text"; choices: the only texts allowed.
    """

    name: str
    help: str
    flags: tuple[str, ...] = ()
    kind: str = "text"
    metavar: str = ""
    required: bool = True
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """One row. `usage` as typed after `arbiterctl`, "" for what has a signal only; of several rows with one
    word the first has the parameters. `verb` is what the policy is asked for; `signals` mean the same, first
    the usual one.
    """

    usage: str
    role: Role
    help: str
    verb: Verb | None = None
    signals: tuple[signal.Signals, ...] = ()
    parameters: tuple[Parameter, ...] = ()

    @property
    def word(self) -> str:
        """What goes over the wire: the first word of `usage`."""
        return self.usage.partition(" ")[0]


_WORKER: Final = Parameter("worker", "A worker's number, or its process id.", metavar="WORKER")
_WAIT: Final = Parameter(
    "wait", "Wait for the end, telling what happens meanwhile.", flags=("-w", "--wait"), kind="switch"
)
_COUNT: Final = Parameter(
    "count", "At most so many.", flags=("-c", "--count"), kind="number", metavar="N", required=False
)
LEVELS: Final = ("debug", "info", "warning", "error", "critical")

COMMANDS: Final[tuple[Command, ...]] = (
    Command("status", Role.OBSERVER, "The arbiter, its molds, workers and listeners, and the last reload."),
    Command(
        "top", Role.OBSERVER, "The same, live and full-screen, with keys to sort and to act; `?` lists them."
    ),
    Command(
        "show WORKER",
        Role.OBSERVER,
        "One worker with every request it has in work, and what was said of it.",
        parameters=(_WORKER,),
    ),
    Command(
        "stacks WORKER",
        Role.OPERATOR,
        "The stacks of one worker, now: its threads and asyncio tasks. It goes on meanwhile, and answers "
        "also when it is stuck.",
        parameters=(_WORKER,),
    ),
    Command(
        "slow",
        Role.OBSERVER,
        "Recent slow requests and stuck workers, with their stacks.",
        parameters=(_COUNT,),
    ),
    Command(
        "events",
        Role.OBSERVER,
        "What the arbiter decided, and why.",
        parameters=(
            Parameter("follow", "Go on as it happens.", flags=("-f", "--follow"), kind="switch"),
            _COUNT,
            Parameter(
                "level",
                "Nothing below this level.",
                flags=("-l", "--level"),
                metavar="LEVEL",
                required=False,
                choices=LEVELS,
            ),
        ),
    ),
    Command(
        "reload",
        Role.OPERATOR,
        "Reload configuration and application: new workers must be ready before old ones go; "
        "if they fail, the old ones stay.",
        Verb.RELOAD,
        (signal.SIGHUP,),
        (_WAIT,),
    ),
    Command(
        "upgrade",
        Role.OPERATOR,
        "Replace arbiter itself by what is installed now (arbiter, its dependencies, Python), under the "
        "same pid, and then reload; listeners, workers and molds survive. What does not prove itself "
        "changes nothing.",
        Verb.UPGRADE,
        (signal.SIGUSR2,),
        (_WAIT,),
    ),
    Command(
        "rollback",
        Role.OPERATOR,
        "Bring the generation before back, from its mold, which `rollback_keep` keeps: nothing is read, and "
        "what lies on disk does not matter. Amid a reload: end that.",
        Verb.ROLLBACK,
        (),
        (_WAIT,),
    ),
    Command("generations", Role.OBSERVER, "The generations there are, and what workers are forked from."),
    Command(
        "scale N",
        Role.OPERATOR,
        "So many workers; also `+N` and `-N`. Holds until a reload that changes `workers`; with "
        "`workers_max` until `scale auto`.",
        Verb.SCALE,
        (),
        (Parameter("to", "N, +N, -N or auto.", metavar="N|+N|-N|auto"), _WAIT),
    ),
    Command("scale +1", Role.OPERATOR, "One worker more.", Verb.SCALE_UP, (signal.SIGTTIN,)),
    Command(
        "scale -1", Role.OPERATOR, "One worker less, but never none.", Verb.SCALE_DOWN, (signal.SIGTTOU,)
    ),
    Command(
        "scale auto",
        Role.OPERATOR,
        "Let the number of workers follow the load again, between `workers_min` and `workers_max`.",
        Verb.SCALE_AUTO,
    ),
    Command(
        "recycle WORKER",
        Role.OPERATOR,
        "Replace a worker, its successor first; `all` replaces every one, a few at a time.",
        Verb.RECYCLE,
        (),
        (Parameter("worker", "A worker's number, its process id, or all.", metavar="WORKER"), _WAIT),
    ),
    Command(
        "drain",
        Role.OPERATOR,
        "Say that this server is not ready (/readyz), so that load balancers turn away; it serves on.",
        Verb.DRAIN,
    ),
    Command("undrain", Role.OPERATOR, "Be ready again.", Verb.UNDRAIN),
    Command(
        "kill WORKER",
        Role.ADMIN,
        "Kill a worker at once; what it has in work is lost. Its successor starts at once.",
        Verb.KILL,
        (),
        (_WORKER,),
    ),
    Command(
        "reopen-logs",
        Role.OPERATOR,
        "Reopen the log files, after a rotation.",
        Verb.REOPEN_LOGS,
        (signal.SIGUSR1,),
    ),
    Command(
        "loglevel LEVEL",
        Role.OPERATOR,
        "The least level of records in the log, here and in every worker, until the next reload.",
        parameters=(Parameter("level", "The level.", metavar="LEVEL", choices=LEVELS),),
    ),
    Command(
        "config [NAME]",
        Role.OBSERVER,
        "The settings in force, each with its origin; or one of them.",
        parameters=(Parameter("name", "A setting.", metavar="NAME", required=False),),
    ),
    Command(
        "check",
        Role.OPERATOR,
        "Read the configuration as a reload would, say what is wrong with it, and change nothing.",
    ),
    Command("metrics", Role.OBSERVER, "All metrics, as `/metrics` gives them."),
    Command(
        "stop",
        Role.ADMIN,
        "Graceful stop: answer what has begun and what is queued, within graceful_timeout; "
        "a second time: quick stop.",
        Verb.STOP,
        (signal.SIGTERM,),
        (Parameter("now", "Quick stop.", flags=("--now",), kind="switch"), _WAIT),
    ),
    Command(
        "stop --now",
        Role.ADMIN,
        "Quick stop: running requests are cut and logged.",
        Verb.QUIT,
        (signal.SIGINT, signal.SIGQUIT),
    ),
    Command("ping", Role.OBSERVER, "Whether the arbiter's loop turns, and how soon it answers."),
    Command("version", Role.OBSERVER, "The versions of the arbiter that runs and of this command."),
    Command(
        "",
        Role.ADMIN,
        "Stop all workers gracefully and keep the arbiter (only when daemonized); a reload brings them back.",
        Verb.PAUSE,
        (signal.SIGWINCH,),
    ),
)

SIGNALLED: Final[tuple[tuple[Command, Verb], ...]] = tuple(
    (row, row.verb) for row in COMMANDS if row.signals and row.verb is not None
)
"""The rows that have a signal, with their verbs."""

BY_SIGNAL: Final[dict[int, Verb]] = {number: verb for row, verb in SIGNALLED for number in row.signals}

WORDS: Final[dict[str, Command]] = {row.word: row for row in reversed(COMMANDS) if row.word}
"""Every word's first row."""
