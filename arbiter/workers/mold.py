"""The mold of a generation: it loads the application once, serves nobody, and workers are forked from it.

Neighbours: `supervisor.foundry` starts it as a fresh interpreter and tells it what to fork; a worker of it
lives as any other, in `process`. Its one rule: one thread, no connection, nothing of a request: whatever a
worker finds in it must be as good for the next one.

A fresh interpreter, and not a fork of the arbiter, so that a reload meets new dependencies, even a new
Python, as a restart would, and so that the arbiter holds nothing of the application. A worker is forked
twice: the process between ends at once and the arbiter, a subreaper, becomes the worker's parent. So it
learns of a worker's death as of any child's, and a mold that dies takes no worker with it. Workers that are
asked for together have one process between them.

The mold becomes `user` before it loads anything, so that nothing of the application ever runs with more
rights; the hooks pre_fork and post_fork, too, are then called as that user.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from setproctitle import setproctitle

from arbiter import application, hooks
from arbiter.config import merging
from arbiter.config.sources import Loader
from arbiter.errors import ExitStatus, OperatorError
from arbiter.hooks import ServerFace, WorkerFace
from arbiter.link import output, spawn
from arbiter.link.channel import Sender
from arbiter.link.messages import (
    Booting,
    MoldReady,
    MoldSetup,
    ReopenLogs,
    Spawn,
    Spawned,
    SpawnFailed,
    decode,
)
from arbiter.link.orders import Taker
from arbiter.link.scoreboard import Scoreboard
from arbiter.link.spec import WorkerSpec
from arbiter.link.stacks import DUMP_SIGNAL, StackFile
from arbiter.observe import multiprocess
from arbiter.observe.logs import Log, Logs
from arbiter.workers import (
    ballast,
    django_checks,
    django_lazy,
    doctor,
    hygiene,
    identity,
    orphan,
    process,
    verdict,
)

UNMOVED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGWINCH,
)
"""A service manager that stops the service tells all its processes; a mold's end is its arbiter's affair."""
AT_ONCE: Final = 8
"""Workers forked by one process between: each more saves a fork, and the first one waits for all of them."""


def main() -> NoReturn:
    """Run as `python -m arbiter.workers.mold FD`; `FD` is a file that holds a `MoldSetup`."""
    setup_fd = int(sys.argv[1])
    with open(setup_fd, "rb") as file:
        setup = decode(file.read())
    if not isinstance(setup, MoldSetup):
        raise TypeError(f"not a mold's setup: {setup!r}")
    for fd in (setup.control, setup.lifeline, setup.stacks, setup.scoreboard, setup.relay):
        if fd >= 0:
            os.set_inheritable(fd, False)
    sys.argv[:] = setup.argv
    status = Mold(setup).run()
    # What the application has registered with atexit is for its workers to do.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Mold:
    """The steps of a mold's life, in their order."""

    def __init__(self, setup: MoldSetup) -> None:
        self.setup = setup
        self.step = "process"
        self.control = socket.socket(fileno=setup.control)
        self.sender = Sender(self.control)
        self.log = Log(f"mold (gen {setup.generation}, pid {os.getpid()})")
        self._began = time.monotonic()

    def run(self) -> int:
        """Load, say how it went, and fork on request until the arbiter is gone; the exit status."""
        try:
            self._begin()
            self._settle()
            ready = self._load()
        except BaseException as error:
            self.sender.send(verdict.failed(self.step, error))
            return ExitStatus.BOOT
        self.control.settimeout(None)
        self.sender.send(ready)
        self._serve()
        return ExitStatus.OK

    # -- the steps

    def _begin(self) -> None:
        """Become a process of its own."""
        setproctitle(f"arbiter: mold of generation {self.setup.generation}")
        for number in UNMOVED:
            # A function, not SIG_IGN: what the application starts shall not inherit the indifference.
            signal.signal(number, lambda number, frame: None)
        # Before faulthandler puts signals on a stack of their own, which has no room for many at once.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, UNMOVED)
        faulthandler.enable(self.setup.stacks)
        faulthandler.register(DUMP_SIGNAL, file=self.setup.stacks, all_threads=True)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        orphan.die_with(self.setup.arbiter, signal.SIGKILL)

    def _settle(self) -> None:
        """Know the configuration, and be who and where the workers shall be."""
        setup = self.setup
        self._enter("configuration")
        self.config = config = Loader(setup.cli_values, os.environ, setup.cwd).load()
        _set_environment(setup.environ)
        setproctitle(f"arbiter: mold of generation {setup.generation} [{config.proc_name}]")
        self._enter("logs")
        self.logs = Logs(config)
        if os.geteuid() == 0 and config.user != 0:
            self.logs.give_to(config.user, config.group)
        if config.capture_output:
            output.redirect(self.sender)
        self.scoreboard = Scoreboard(setup.rows, setup.scoreboard, setup.relay)
        self.server = ServerFace(config, self.log, [])
        self.server.pid = setup.arbiter
        if config.memory_merge:
            merging.ask()
        self._enter("user and group")
        identity.assume(config)
        orphan.die_with(setup.arbiter, signal.SIGKILL)  # a change of credentials has cleared it
        self._enter("directory and environment")
        os.environ.update(config.environment())
        application.prepare_paths(config)

    def _load(self) -> MoldReady:
        """Load the application, have it prove itself, and see whether it can be forked."""
        config = self.config
        pause = _Pause()
        self._enter("application")
        multiprocess.key_by(self.setup.rows)  # no worker's row
        origin = config.variable_origin(application.DJANGO)
        self.app = application.load(config.app, config.worker_class, origin)
        self.server.app = self.app.callable
        kind = application.dispatcher_name(self.app, config)
        importlib.import_module(process.DISPATCHERS[kind][0])
        if kind == "asgi" and config.asgi_loop != "asyncio":
            with contextlib.suppress(ImportError):
                importlib.import_module("uvloop")
        self._enter("what Django loads later")
        django_lazy.load()
        notes: list[str] = []
        if config.django_check != "off":
            self._enter("Django's checks")
            for warning in django_checks.run(config.django_check, config.origin("django_check")):
                self.log.warning("Django's checks: %s", warning, event="mold.check")
        if config.warmup_paths:  # else asyncio would cost the others some megabytes
            warmup = importlib.import_module("arbiter.workers.warmup")
            for warning in warmup.warm_up(self.app, config, self._enter):
                self.log.warning("%s", warning, event="mold.warmup")
        multiprocess.withdraw(self.setup.rows)
        self._enter("fork safety")
        gc.collect()
        notes += hygiene.tidy()
        unsafe = doctor.examine(own=self._own())
        pause.end()
        gc.freeze()  # the collector of a worker shall not touch, and so copy, what it shares
        ballast.drop()
        return MoldReady(kind, unsafe, notes, time.monotonic() - self._began)

    def _own(self) -> set[int]:
        outputs = [self.logs.error.fileno()]
        if self.logs.access is not None:
            outputs.append(self.logs.access.fileno())
        return {self.setup.control, *outputs}

    def _serve(self) -> None:
        taker = Taker(self.control)
        while orders := taker.take(AT_ONCE):
            if any(isinstance(message, ReopenLogs) for message, _ in orders):
                self._reopen()
            held = {fd for _, fds in orders for fd in fds}
            asked = [(message, fds) for message, fds in orders if isinstance(message, Spawn)]
            # What a hook leaves behind is meant for the one worker it was called for.
            together = 1 if self.config.pre_fork is not None else AT_ONCE
            for first in range(0, len(asked), together):
                self._spawn(asked[first : first + together], held)
            for fd in held:
                os.close(fd)

    def _enter(self, step: str) -> None:
        self.step = step
        self.sender.send(Booting(step))

    def _reopen(self) -> None:
        try:
            self.logs.reopen()
        except OperatorError as error:
            self.log.error("%s", error, event="logs.reopen_failed")

    # -- workers

    def _spawn(self, orders: Sequence[tuple[Spawn, list[int]]], held: set[int]) -> None:
        """Fork these workers; what prevents it is told. `held`: descriptors of theirs, and of others."""
        try:
            births = [self._birth(order, fds, held) for order, fds in orders]
            hygiene.tidy()
            spawn.fork_away(births)
        except Exception as error:
            self.log.exception("a worker cannot be forked", event="worker.fork_failed")
            for order, _ in orders:  # of one that was announced before, the arbiter knows better
                self.sender.send(SpawnFailed(order.key, f"{type(error).__name__}: {error}"))

    def _birth(self, order: Spawn, fds: Sequence[int], held: set[int]) -> spawn.Birth:
        self.server.address = order.addresses
        face = WorkerFace(self.config, self.log, age=order.key, nr=order.slot, ppid=self.setup.arbiter)
        hooks.call(self.config, "pre_fork", self.server, face)
        child = self._worker(order, face, fds, held.difference(fds))
        return spawn.Birth(child, lambda pid: self.sender.send(Spawned(order.key, pid)))

    def _worker(
        self, order: Spawn, face: WorkerFace, fds: Sequence[int], others: set[int]
    ) -> Callable[[], int]:
        """What a worker does; `others` are descriptors of its siblings."""
        setup = self.setup

        def live() -> int:
            self.control.close()
            for fd in others:
                os.close(fd)
            if os.getppid() != setup.arbiter:
                return ExitStatus.FAILURE  # it is gone: somebody else has adopted this one
            channel, stacks, *listeners = fds
            faulthandler.disable()
            faulthandler.unregister(DUMP_SIGNAL)  # else the worker's own would find itself in place
            os.close(setup.stacks)
            hygiene.refresh()
            spec = WorkerSpec(
                key=order.key,
                slot=order.slot,
                generation=setup.generation,
                row=order.row,
                config=self.config,
                listeners=[_listener(fd) for fd in listeners],
                scoreboard=self.scoreboard,
                channel=socket.socket(fileno=channel),
                stacks=StackFile(stacks),
                lifeline=setup.lifeline,
                arbiter=setup.arbiter,
                logs=self.logs,
                server=self.server,
                worker=face,
                app=self.app,
            )
            return process.run(spec)

        return live


class _Pause:
    """No collection of garbage while an application is loaded: nearly all that it makes stays.

    By the threshold, not `gc.disable()`, which the application may call, and mean, itself.
    """

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        gc.set_threshold(0)

    def end(self) -> None:
        """Go back to what was, unless the application has chosen another threshold."""
        if gc.get_threshold()[0] == 0:
            gc.set_threshold(*self._before)


def _listener(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


def _set_environment(environ: dict[str, str]) -> None:
    """Have the arbiter's environment: what its hooks have put there is meant for workers."""
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    for name, value in environ.items():
        if os.environ.get(name) != value:
            with contextlib.suppress(ValueError):
                os.environ[name] = value


if __name__ == "__main__":
    main()
