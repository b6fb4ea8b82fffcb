"""What a dispatcher is given: everything it may use, and nothing of how it came about.

Neighbours: `process` fills it in, `dispatch/*` works with it. Its one rule: a dispatcher reaches the rest
of the world through this record only, so a test can run one with a handful of fakes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from arbiter.config.snapshot import Config
from arbiter.link.scoreboard import Row, Scoreboard, SharedRow
from arbiter.observe.access import AccessLog
from arbiter.observe.logs import Log
from arbiter.observe.trace import RequestIds
from arbiter.workers.orders import Orders


@dataclass(slots=True)
class RequestHooks:
    """gunicorn's per-request hooks, already bound to the worker; None where the configuration has none."""

    pre_request: Callable[[Any], None] | None = None
    """pre_request(worker, req)"""
    post_request: Callable[[Any, Any, Any], None] | None = None
    """post_request(worker, req, environ, resp)"""


@dataclass(slots=True)
class WorkerContext:
    """A worker as its dispatcher sees it; see the fields."""

    config: Config
    app: Callable[..., Any]
    kind: Literal["wsgi", "asgi"]
    listeners: list[socket.socket]
    """Bound, listening, non-blocking; shared with the other workers."""
    row: Row | SharedRow
    """Its own, in ..."""
    scoreboard: Scoreboard | None
    """... where it sees what its siblings do; None: it has none."""
    log: Log
    access: AccessLog | None
    orders: Orders
    ready: Callable[[], None]
    """To be called once, when the next thing is to accept."""
    boot_failed: Callable[[BaseException | str], None]
    """The application refuses to start (lifespan.startup.failed): reported as a failed boot; then return
    from run().
    """
    retire: Callable[[str], None]
    """Ask for a replacement, with the reason; go on serving until told to drain."""
    enter: Callable[[str], None] = lambda step: None
    """Say what is being done before `ready`."""
    tell_tasks: Callable[[Callable[[], str]], None] = lambda tell: None
    """Leave word who can tell, at any time and from a signal handler, what the tasks of an event loop wait
    for.
    """
    name: str = "worker"
    request_ids: RequestIds | None = None
    """Gives each request its id before the application sees it; None when none is wanted."""
    hooks: RequestHooks = field(default_factory=RequestHooks)


class Dispatcher(Protocol):
    """One of the three ways: `turns.Turns`, `pool.Pool`, `tasks.Tasks`."""

    def __init__(self, ctx: WorkerContext) -> None: ...

    def run(self) -> int:
        """Serve until the orders say stop and the rest is done; the process's exit status."""
        ...
