"""What a new worker process is born with.

Neighbours: the arbiter, or a mold, fills it in, `workers.process` lives by it. Its one rule:
everything a worker inherits on purpose is named here; whatever else its process has of the arbiter's is
closed.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from arbiter.application import Application
from arbiter.config.snapshot import Config
from arbiter.hooks import ServerFace, WorkerFace
from arbiter.link.scoreboard import Scoreboard
from arbiter.link.stacks import StackFile
from arbiter.observe.logs import Logs


@dataclass(slots=True)
class WorkerSpec:
    """One worker's inheritance."""

    key: int
    """Its age: the arbiter's count of forks."""
    slot: int
    generation: int
    row: int
    """Its row in the scoreboard."""
    config: Config
    listeners: list[socket.socket]
    scoreboard: Scoreboard
    channel: socket.socket
    """Its end of the channel to the arbiter."""
    stacks: StackFile
    """Where it writes its stacks when asked."""
    lifeline: int
    """Read end of the lifeline pipe: end of file means that the arbiter is gone."""
    arbiter: int
    """The arbiter's process id."""
    logs: Logs
    server: ServerFace
    worker: WorkerFace
    app: Application | None = None
    """The application, if it was loaded before the fork."""
