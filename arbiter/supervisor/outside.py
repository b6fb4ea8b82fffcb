"""The arbiter's face to the outside: control socket, metrics and health, what was said, what was counted.

Neighbours: `arbiter` holds one and tells it what happens; `plane` and `exporter` serve. Its one rule: none of
it is needed to serve the site; what cannot be opened is told, and everything else goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from arbiter.config.address import Address
from arbiter.config.snapshot import Config
from arbiter.errors import FilesError, ListenError
from arbiter.link.scoreboard import Word
from arbiter.observe import multiprocess
from arbiter.observe.logs import LEVELS, Log
from arbiter.observe.statsd import Statsd, TellStatsd, open_statsd
from arbiter.supervisor import actions as act
from arbiter.supervisor import events as ev
from arbiter.supervisor import listeners as sockets
from arbiter.supervisor.book import FOREVER
from arbiter.supervisor.dumps import Dumps, resources
from arbiter.supervisor.exporter import Exporter
from arbiter.supervisor.journal import Happening
from arbiter.supervisor.ledger import Living
from arbiter.supervisor.listeners import Listener
from arbiter.supervisor.plane import ControlRecord, Plane
from arbiter.supervisor.queues import queue_of
from arbiter.supervisor.rendezvous import open_socket
from arbiter.supervisor.states import SERVING
from arbiter.supervisor.trial import Trial
from arbiter.supervisor.view import View
from arbiter.supervisor.watch import Watch

CONTROL: Final = ("control_socket", "control_socket_mode", "control_socket_disable")
"""The settings that say how the control socket is made."""


@dataclass(frozen=True, slots=True)
class MetricsRecord:
    """The listener of `metrics_bind` as one arbiter hands it to the next, and the connections to it, each
    with what is still to be sent.
    """

    fd: int
    address: Address
    path: str
    connections: list[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class OutsideRecord:
    """All that is open to the outside, as one arbiter hands it to the next."""

    control: ControlRecord | None
    metrics: MetricsRecord | None


class Outside:
    """See the module's text. `try_config` reads the configuration; it runs in a process of its own, in which
    `disown` closes what is the arbiter's.
    """

    def __init__(
        self,
        view: View,
        watch: Watch,
        dumps: Dumps,
        log: Log,
        try_config: Callable[[], None],
        disown: Callable[[], None],
    ) -> None:
        self.view = view
        self._watch = watch
        self._dumps = dumps
        self._log = log
        self._try_config = try_config
        self._disown = disown
        self._plane: Plane | None = None
        self._exporter = Exporter(watch, view, time.monotonic)
        self._listener: Listener | None = None
        self._statsd: Statsd | None = None
        self._teller: TellStatsd | None = None
        self._trial: tuple[Trial, Callable[[str], None]] | None = None

    # -- the sockets

    def open(self, config: Config, environ: Mapping[str, str]) -> None:
        """Open what the configuration asks for. Raises `ListenError` for `metrics_bind` alone."""
        self._move_exporter(config)
        self._open_statsd(config)
        multiprocess.clean(_directory(config))
        self._open_control(config, environ)

    def _open_control(self, config: Config, environ: Mapping[str, str]) -> None:
        if config.control_socket_disable:
            return
        try:
            listener, path = open_socket(config, environ)
        except FilesError as error:
            self._log.warning("%s", error, event="control.failed")
            return
        self._plane = Plane(self._watch, listener, path, self.view, self, time.monotonic)
        self._log.info("Control socket at: %s", path, event="control.listening", fields={"path": path})

    # -- from one arbiter to the next

    @property
    def busy(self) -> bool:
        """A configuration is being read for somebody who waits."""
        return self._trial is not None

    def hand_over(self) -> OutsideRecord:
        """All that is open."""
        metrics, one = None, self._listener
        if one is not None:
            connections = self._exporter.hand_over()
            metrics = MetricsRecord(one.socket.fileno(), one.address, one.path, connections)
        return OutsideRecord(self._plane.hand_over() if self._plane else None, metrics)

    def adopt(
        self, record: OutsideRecord, before: Config, config: Config, environ: Mapping[str, str]
    ) -> None:
        """Go on where another arbiter has stopped, which went by the configuration `before`."""
        metrics, control = record.metrics, record.control
        if metrics is not None:
            self._listener = Listener(metrics.address, socket.socket(fileno=metrics.fd), metrics.path)
            self._exporter.adopt(self._listener.socket, metrics.connections)
        self.reconfigure(config)
        if control is not None:
            self._adopt_control(control, same=all(getattr(before, n) == getattr(config, n) for n in CONTROL))
        if self._plane is None:
            self._open_control(config, environ)
        sessions = control.sessions if control else []
        if self._plane is not None:
            self._plane.adopt(sessions)
        else:
            for session in sessions:
                os.close(session.fd)

    def _adopt_control(self, record: ControlRecord, *, same: bool) -> None:
        """Keep the socket, unless another one is wanted or its file has been removed."""
        listener = socket.socket(fileno=record.fd)
        if same and os.path.exists(record.path):
            self._plane = Plane(self._watch, listener, record.path, self.view, self, time.monotonic)
        else:
            listener.close()
            with contextlib.suppress(OSError):
                os.unlink(record.path)

    def reconfigure(self, config: Config) -> None:
        """A reload is in force: move to another `metrics_bind`, or stay if that cannot be."""
        self._open_statsd(config)
        try:
            self._move_exporter(config)
        except ListenError as error:
            self._log.error("%s Metrics stay where they are.", error, event="metrics.failed")

    def _open_statsd(self, config: Config) -> None:
        if self._statsd is not None and self._teller is not None:
            self._log.error_log.removeHandler(self._teller)
            self._statsd.close()
        self._teller, self._statsd = None, open_statsd(config)
        if self._statsd is not None:
            self._teller = TellStatsd(self._statsd)
            self._log.error_log.addHandler(self._teller)
        elif config.statsd_host is not None:
            text = "statsd_host = %s: cannot be resolved; nothing is sent"
            self._log.warning(text, config.statsd_host, event="statsd.failed")

    def _move_exporter(self, config: Config) -> None:
        before, address = self._listener, config.metrics_bind
        if (before.address if before else None) == address:
            return
        listener = sockets.open_one(address, config, "metrics_bind") if address else None
        self._exporter.stop()
        if before is not None:
            sockets.close_all([before])
        self._listener = listener
        if listener is not None:
            self._exporter.serve(listener.socket)
            said = {"url": listener.url}
            self._log.info("Metrics at: %s", listener.url, event="metrics.listening", fields=said)

    def stop(self) -> None:
        """The arbiter ends."""
        if self._plane is not None:
            self._plane.stop()
        self._exporter.stop()
        if self._listener is not None:
            sockets.close_all([self._listener])

    def abandon(self) -> None:
        """In a forked child: none of it is its own."""
        if self._plane is not None:
            self._plane.service.abandon()
        self._exporter.abandon()

    # -- what the arbiter tells

    @property
    def due(self) -> float:
        """When to call `look` (monotonic s)."""
        due = min(self.view.ledger.due, self._exporter.due, self._plane.due if self._plane else FOREVER)
        return min(due, self._trial[0].deadline) if self._trial else due

    def look(self, now: float) -> None:
        """Time has passed."""
        if now >= self.view.ledger.due:
            self.view.ledger.sample(self.view.living(), now)
            self._tell_statsd()
        self._exporter.look(now)
        if self._plane is not None:
            self._plane.service.look(now)
        if self._trial is not None and now >= self._trial[0].deadline:
            self._checked("reading the configuration took too long")

    def bury(self, worker: Living) -> None:
        """A worker has been reaped; its row is about to be cleared."""
        self.view.ledger.bury(worker)
        multiprocess.bury(_directory(self.view.current().config), worker.row.index)

    def _tell_statsd(self) -> None:
        statsd, generation = self._statsd, self.view.current()
        if statsd is None:
            return
        statsd.gauge("gunicorn.workers", sum(1 for _ in self.view.book.serving()))
        if generation.config.enable_backlog_metric:
            queues = [queue_of(one.socket) for one in generation.listeners if one.socket.fileno() >= 0]
            statsd.histogram("gunicorn.backlog", sum(queue.length for queue in queues if queue))

    def say(self, level: int, name: str, text: str, fields: Mapping[str, Any]) -> None:
        """Into the log and the journal."""
        self._log.log(level, "%s", text, event=name, fields=dict(fields))
        self.view.journal.add(level, name, text, fields)

    def dump(self, action: act.Dump, now: float) -> None:
        """Take a child's stacks and say them."""
        pid = self._watch.pid(action.key)

        def then(stacks: str) -> None:
            text = f"{action.text}{resources(pid)}"
            stacks = stacks or "(it wrote no stacks)"
            self._log.log(action.level, "%s\n%s", text, stacks, event=action.name, fields={"pid": pid})
            self.view.journal.add_dump(action.level, action.name, text, {"pid": pid}, stacks)

        self._dumps.ask(action.key, now, then)

    def decided(self, event: ev.Event, said: list[Happening]) -> None:
        """The policy has dealt with an event, and has said this."""
        if self._plane is not None and isinstance(event, ev.Asked) and event.ticket:
            self._plane.decided(event, said)

    def settled(self) -> None:
        """Nothing is pending."""
        if self._plane is not None:
            self._plane.settled()

    # -- what the plane asks for (see `plane.Hands`)

    def stacks(self, key: int, then: Callable[[str], None]) -> None:
        """Take a child's stacks; `then` gets them."""
        self._dumps.ask(key, time.monotonic(), then)

    def log_level(self, level: str) -> None:
        """Set it, here and in the workers, which look when they are told to reopen their logs."""
        self._log.error_log.setLevel(LEVELS[level])
        for worker in self.view.living():
            worker.row.words[Word.LOG_LEVEL] = LEVELS[level]
            if self.view.book.children[worker.key].state in SERVING:
                self._watch.send(worker.key, signal.SIGUSR1)

    def metrics(self) -> str:
        """All of them, as text."""
        return self._exporter.metrics()

    def check(self, then: Callable[[str], None]) -> bool:
        """Read the configuration in a process of its own; `then` gets what is wrong with it. False: busy."""
        if self._trial is not None:
            return False
        try:
            trial = Trial(0, self._try_config, self._disown, time.monotonic())
        except OSError as error:
            then(f"no process to read the configuration in: {error}")
            return True
        self._trial = trial, then
        self._watch.add_reader(trial.fileno(), self._check_said)
        return True

    def _check_said(self) -> Iterable[ev.Event]:
        if self._trial is not None and self._trial[0].read():
            self._checked(self._trial[0].problem)
        return ()

    def _checked(self, problem: str) -> None:
        assert self._trial is not None
        (trial, then), self._trial = self._trial, None
        self._watch.remove_reader(trial.fileno())
        trial.end()
        then(problem)


def _directory(config: Config) -> str:
    """Where the application's prometheus_client keeps its files; "" if it does not."""
    name = multiprocess.VARIABLE
    return config.environment().get(name) or os.environ.get(name, "")
