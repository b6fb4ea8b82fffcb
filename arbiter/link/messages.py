"""All that a worker or a mold says to its arbiter, and what a mold is told, on one page.

Neighbours: `channel` carries them, `workers.process` and `workers.mold` send, `supervisor.watch` receives; a
worker is told by signals, a mold by `supervisor.foundry`. Its one rule: a message is a frozen record of plain
values, and an arbiter that gets one it does not know says so and goes on.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias, get_args


@dataclass(frozen=True, slots=True)
class Booting:
    """The worker has begun the next step of its start ("application", "lifespan", ...), or `DRAINING`."""

    step: str


DRAINING: Final = "drain"
"""The step of a worker that has been told to go and does: its loop turns."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker will accept from now on."""

    kind: str
    """"sync", "threaded" or "asgi"."""


@dataclass(frozen=True, slots=True)
class BootFailed:
    """The worker cannot start and is about to exit.

    problem: one sentence; report: the application's traceback or ""; status: the `ExitStatus` it stands for.
    """

    step: str
    problem: str
    report: str
    status: int


@dataclass(frozen=True, slots=True)
class Retiring:
    """The worker asks for a replacement ("max_requests reached: 1000"); it serves on until told to drain."""

    reason: str


# -- molds. One starts like a worker, with `Booting` and perhaps `BootFailed`.


@dataclass(frozen=True, slots=True)
class MoldReady:
    """The mold has loaded the application and can be forked from.

    kind: "sync", "threaded" or "asgi"; unsafe: what forbids to fork it, a sentence each; notes: what was put
    right; seconds: how long it took.
    """

    kind: str
    unsafe: list[str]
    notes: list[str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Spawned:
    """Worker `key` has been forked; it waits until it is the arbiter's child."""

    key: int
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """Worker `key` could not be forked: the system refused, or a pre_fork hook raised."""

    key: int
    problem: str


@dataclass(frozen=True, slots=True)
class MoldSetup:
    """All that a mold needs to know, in a file it inherits (it may be longer than a socket's buffer).

    cli_values, cwd: as `config.sources.Loader` takes them; the environment is that of its exec. argv: what
    `sys.argv` shall be. environ: the arbiter's, which hooks may have changed. Descriptors it inherits:
    `control`, where it answers and takes orders, `lifeline`, `stacks`, and `scoreboard`, of so many `rows`,
    with its `relay` (-1: there is none on this system).
    """

    generation: int
    arbiter: int
    cli_values: dict[str, Any]
    cwd: str
    argv: list[str]
    environ: dict[str, str]
    control: int
    lifeline: int
    stacks: int
    scoreboard: int
    relay: int
    rows: int


@dataclass(frozen=True, slots=True)
class Spawn:
    """To a mold: fork worker `key`. With it come the worker's end of its channel, its stack file, and the
    listeners, of which `addresses` are what hooks are shown.
    """

    key: int
    slot: int
    row: int
    addresses: list[str]


@dataclass(frozen=True, slots=True)
class ReopenLogs:
    """To a mold: open the log files anew, for itself and the workers to come."""


Message: TypeAlias = (
    Booting
    | Ready
    | BootFailed
    | Retiring
    | MoldReady
    | Spawned
    | SpawnFailed
    | MoldSetup
    | Spawn
    | ReopenLogs
)

_KINDS: Final[dict[str, type[Any]]] = {kind.__name__: kind for kind in get_args(Message)}


def encode(message: Message) -> bytes:
    """One message as JSON; surrogates and all, whatever a traceback holds."""
    return json.dumps([type(message).__name__, asdict(message)]).encode("ascii")


def decode(data: bytes) -> Message:
    """The message; raises ValueError when it is not one of ours."""
    try:
        name, values = json.loads(data)
        message: Message = _KINDS[name](**values)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"not a message: {data[:200]!r}") from error
    return message
