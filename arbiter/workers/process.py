"""A worker's life: after the fork, until its exit status.

Neighbours: the arbiter and `mold` call `run` in a new process; a dispatcher does the serving. Its one rule:
a worker that cannot start says why on its channel, once and completely, and exits; the arbiter decides what
that means.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import signal
from collections.abc import Callable
from typing import Any, Final

from setproctitle import setproctitle

from arbiter import application, hooks
from arbiter.config import merging
from arbiter.counted import counted
from arbiter.errors import ExitStatus, OperatorError
from arbiter.link import output
from arbiter.link.channel import Sender
from arbiter.link.messages import Booting, Ready, Retiring
from arbiter.link.scoreboard import State, Word
from arbiter.link.spec import WorkerSpec
from arbiter.link.stacks import DUMP_SIGNAL
from arbiter.observe import multiprocess
from arbiter.observe.access import AccessLog, open_access_log
from arbiter.observe.logs import Log
from arbiter.observe.statsd import TellStatsd, open_statsd
from arbiter.observe.trace import RequestIds
from arbiter.workers import identity, orphan, verdict
from arbiter.workers.context import RequestHooks, WorkerContext
from arbiter.workers.orders import Orders
from arbiter.workers.told_row import row_for

DISPATCHERS: Final = {
    "sync": ("arbiter.workers.dispatch.turns", "Turns"),
    "threaded": ("arbiter.workers.dispatch.pool", "Pool"),
    "asgi": ("arbiter.workers.dispatch.tasks", "Tasks"),
}


def run(spec: WorkerSpec) -> int:
    """Live as the worker of `spec`; called right after the fork with all signals blocked."""
    worker = Worker(spec)
    try:
        worker.begin()
        return worker.serve()
    except BaseException as error:
        worker.boot_failed(error)
        return ExitStatus.BOOT
    finally:
        worker.end()


class Worker:
    """The steps of a worker's life, in their order."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.config = spec.config
        self.step = "process"
        self.name = f"worker {spec.slot} (gen {spec.generation}, pid {os.getpid()})"
        who = {"worker": spec.slot, "generation": spec.generation, "pid": os.getpid()}
        self.log = Log(self.name, who)
        self.access: AccessLog | None = None
        self.face = spec.worker
        self.face.log = spec.server.log = self.log  # the face is this process's own
        self.face.pid = os.getpid()
        self.sender = Sender(spec.channel)
        self.row = spec.scoreboard.row(spec.row)
        self.orders = Orders(
            spec.arbiter,
            spec.lifeline,
            self.config.graceful_timeout,
            self._reopen,
            lambda: spec.scoreboard.closing,
        )
        self.orders.quitting = lambda: self._hook("worker_int", self.face)
        self.orders.bereft = self._bereft
        self._reported = False
        self._tasks: Callable[[], str] | None = None

    # -- the steps

    def begin(self) -> None:
        """Become a process of its own: group, title, signals, user."""
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)  # so that a kill reaches what the application has started
        setproctitle(f"arbiter: worker {self.spec.slot} [{self.config.proc_name}]")
        self.orders.install()
        self._prepare_dump()
        orphan.die_with(self.spec.arbiter)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self.row.set_state(State.BOOTING)
        self._enter("logs")
        self.spec.logs.reconfigure(self.config)  # a reload's changes are not yet in force in the arbiter
        if self.config.capture_output:
            output.redirect(self.sender)
        self._enter("hook post_fork")
        hooks.call(self.config, "post_fork", self.spec.server, self.face)
        self._enter("user and group")
        identity.assume(self.config)
        orphan.die_with(self.spec.arbiter)  # a change of credentials has cleared it
        if self.spec.app is None:  # what follows a mold has done, and its children have it
            if self.config.memory_merge:
                merging.ask()
            self._enter("directory and environment")
            os.environ.update(self.config.environment())
            application.prepare_paths(self.config)

    def serve(self) -> int:
        """Load the application, unless a mold has, and serve it until told to stop."""
        app = self.spec.app
        multiprocess.key_by(self.spec.row)
        if app is None:
            self._enter("application")
            origin = self.config.variable_origin(application.DJANGO)
            app = application.load(self.config.app, self.config.worker_class, origin)
        self.face.app = self.face.wsgi = app.callable
        self._enter("hook post_worker_init")
        hooks.call(self.config, "post_worker_init", self.face)
        kind = application.dispatcher_name(app, self.config)
        self._enter(f"{kind} dispatcher")
        self.access = open_access_log(self.config, self.spec.logs, self.log)
        statsd = open_statsd(self.config)
        if statsd is not None:
            self.log.error_log.addHandler(TellStatsd(statsd))
        row = row_for(self.spec.scoreboard, self.spec.row, statsd, shared=kind == "threaded")
        ctx = WorkerContext(
            config=self.config,
            app=app.callable,
            kind=app.kind,
            listeners=self.spec.listeners,
            row=row,
            scoreboard=self.spec.scoreboard,
            log=self.log,
            access=self.access,
            orders=self.orders,
            ready=lambda: self._ready(kind),
            boot_failed=self.boot_failed,
            retire=self._retire,
            enter=self._enter,
            tell_tasks=self._tell_tasks,
            name=self.name,
            request_ids=RequestIds(self.config.request_id_header) if self.config.request_id_header else None,
            hooks=self._request_hooks(),
        )
        # Only the module that serves is loaded: asyncio alone would cost the others some megabytes.
        module, name = DISPATCHERS[kind]
        status: int = getattr(importlib.import_module(module), name)(ctx).run()
        return ExitStatus.BOOT if self._reported else status

    def end(self) -> None:
        """The last words: hook worker_exit, and what the application left for the interpreter's exit."""
        self._hook("worker_exit", self.spec.server, self.face)
        if self.access is not None:
            lost = self.access.close()
            if lost:
                text = f"{counted(lost, 'line')} of the access log could not be written before the end"
                self.log.warning("%s", text, event="accesslog.dropped", fields={"lines": lost})

    # -- what the dispatcher may ask

    def _ready(self, kind: str) -> None:
        self.face.booted = True
        self.row.set_state(State.READY)
        self.sender.send(Ready(kind))

    def _retire(self, reason: str) -> None:
        self.sender.send(Retiring(reason))

    def boot_failed(self, error: BaseException | str) -> None:
        """Tell the arbiter why this worker cannot start (once)."""
        if self._reported:
            return
        self._reported = True
        self.sender.send(verdict.failed(self.step, error))

    # -- parts

    def _enter(self, step: str) -> None:
        self.step = step
        self.sender.send(Booting(step))

    def _reopen(self) -> None:
        """USR1. The access log's file follows once its thread has written what is there: it may take time."""
        if self.access is None:
            self._reopen_logs(access=True)
        else:
            self._reopen_logs(access=False)
            self.access.run_after_flush(lambda: self._reopen_logs(access=True))

    def _reopen_logs(self, *, access: bool) -> None:
        try:
            self.spec.logs.reopen(access=access)
        except OperatorError as error:
            self.log.error("%s", error, event="logs.reopen_failed")
        if self.row[Word.LOG_LEVEL]:
            self.log.error_log.setLevel(self.row[Word.LOG_LEVEL])

    def _prepare_dump(self) -> None:
        """Be able to say where it hangs, even while C code holds the interpreter; and, where that does not
        hang, what the tasks of an event loop wait for (the handler that faulthandler calls after its own).
        """
        stacks = self.spec.stacks.fileno()
        faulthandler.enable(stacks)
        signal.signal(DUMP_SIGNAL, self._dump_tasks)
        faulthandler.register(DUMP_SIGNAL, file=stacks, all_threads=True, chain=True)
        signal.signal(signal.SIGABRT, self._aborted)

    def _tell_tasks(self, tell: Callable[[], str]) -> None:
        self._tasks = tell

    def _dump_tasks(self, number: int, frame: object) -> None:
        if self._tasks is None:
            return
        try:
            text = self._tasks()
        except Exception as error:  # raised here, it would come up in the middle of the application
            text = f"the tasks cannot be told: {error!r}\n"
        with contextlib.suppress(OSError):
            os.write(self.spec.stacks.fileno(), f"\n{text}".encode("utf-8", "replace"))

    def _bereft(self, arbiter: int) -> None:
        said = {"arbiter": arbiter}
        self.log.warning(
            "the arbiter (pid %d) is gone: leaving", arbiter, event="worker.orphaned", fields=said
        )

    def _aborted(self, number: int, frame: object) -> None:
        self.face.aborted = True
        self._hook("worker_abort", self.face)
        if self.access is not None:
            self.access.flush()
        os._exit(ExitStatus.FAILURE)

    def _hook(self, name: str, *args: Any) -> None:
        """Call a hook whose failure concerns nobody else: it is logged."""
        try:
            hooks.call(self.config, name, *args)
        except Exception:
            self.log.exception("hook %s raised", name, event="hook.failed", fields={"hook": name})

    def _request_hooks(self) -> RequestHooks:
        bound = RequestHooks()
        pre, post = self.config.pre_request, self.config.post_request
        if pre is not None:
            bound.pre_request = lambda request: pre(self.face, hooks.RequestFace(request))
        if post is not None:

            def post_request(request: Any, environ: Any, response: Any) -> None:
                post(self.face, hooks.RequestFace(request), environ, response)

            bound.post_request = post_request
        return bound
