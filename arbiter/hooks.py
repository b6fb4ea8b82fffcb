"""What gunicorn.conf.py files expect of `server` and `worker` in their hooks.

Neighbours: the arbiter and the worker make these faces and call the hooks through `call`. Its one rule: a
face is a view; nothing in arbiter depends on what a hook does to it, and an exception in a hook is the
caller's to contain.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from arbiter.config.snapshot import Config
from arbiter.observe.logs import Log


class ServerFace:
    """`server` in a hook: the attributes of gunicorn's Arbiter that configuration files use."""

    def __init__(self, config: Config, log: Log, address: list[str]) -> None:
        self.cfg = config
        self.log = log
        self.pid = os.getpid()
        self.address = address
        self.proc_name = config.proc_name
        self.num_workers: int = config.workers
        self.WORKERS: dict[int, WorkerFace] = {}
        self.worker_age = 0
        self.timeout = config.timeout
        self.app: Any = None


class WorkerFace:
    """`worker` in a hook: the attributes of gunicorn's Worker that configuration files use."""

    def __init__(self, config: Config, log: Log, *, age: int, nr: int, ppid: int) -> None:
        self.cfg = config
        self.log = log
        self.age = age
        self.pid: int | str = "[booting]"
        self.ppid = ppid
        self.nr = nr
        self.timeout = config.timeout
        self.booted = False
        self.aborted = False
        self.alive = True
        self.sockets: list[Any] = []
        self.app: Any = None
        self.wsgi: Any = None

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"


class RequestFace:
    """`req` in pre_request and post_request: gunicorn's names for the parts of a request."""

    def __init__(self, request: Any) -> None:
        self.method: str = request.method
        self.uri: str = request.target.decode("latin-1")
        self.path: str = request.path.decode("latin-1")
        self.query: str = request.query.decode("latin-1")
        self.version: tuple[int, ...] = tuple(int(part) for part in request.version.split("."))
        self.headers: list[tuple[str, str]] = [
            (field.pair[0].decode("latin-1").upper(), field.text) for field in request.fields
        ]


def call(config: Config, name: str, *args: Any) -> None:
    """Call the hook if the configuration has it; exceptions pass to the caller.

    `sys.exit()` in a hook is one like any other: no hook ends an arbiter, or a worker that serves.
    """
    hook: Callable[..., Any] | None = getattr(config, name)
    if hook is None:
        return
    try:
        hook(*args)
    except SystemExit as error:
        said = f"SystemExit({error.code!r}) in a hook ends nothing"
        raise RuntimeError(said).with_traceback(error.__traceback__) from None
