"""All that a worker says to its arbiter, on one page. The other direction is signals.

Neighbours: `channel` carries them, `workers.process` sends, `supervisor.watch` receives. Its one rule: a
message is a frozen record of plain values, and an arbiter that gets one it does not know says so and goes
on.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Booting:
    """The worker has begun the next step of its start ("application", "lifespan", ...)."""

    step: str


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


Message: TypeAlias = Booting | Ready | BootFailed | Retiring

_KINDS: Final[dict[str, type[Any]]] = {kind.__name__: kind for kind in (Booting, Ready, BootFailed, Retiring)}


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
