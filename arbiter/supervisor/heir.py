"""Upgrade in place, the new program's side: prove that it can take over, and take over.

Neighbours: `cli` comes here when an arbiter has started this program (`upgrade.errand`), `handover` is what
was passed on; then it is `host` and `arbiter` as after a start. Its one rule: a proof touches nothing; and
once the exec has happened there is no way back, so whatever then fails is waited for or told, while the
workers serve on.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import sys
import time
from typing import Any, Final, NoReturn

from arbiter import hooks
from arbiter.config.memory import recall
from arbiter.config.snapshot import Config
from arbiter.config.sources import Loader
from arbiter.errors import ExitStatus, OperatorError
from arbiter.hooks import ServerFace
from arbiter.link.scoreboard import Scoreboard
from arbiter.observe import logs as log_files
from arbiter.observe.logs import Log, Logs
from arbiter.supervisor import handover, host, systemd
from arbiter.supervisor import listeners as sockets
from arbiter.supervisor.arbiter import Arbiter, Entry
from arbiter.supervisor.estate import Estate
from arbiter.supervisor.generation import Generation
from arbiter.supervisor.handover import State
from arbiter.supervisor.listeners import Listener
from arbiter.supervisor.pidfile import Pidfile
from arbiter.supervisor.upgrade import Errand
from arbiter.supervisor.watch import Watch
from arbiter.version import __version__

PAUSE: Final = 0.5
"""Seconds between two attempts to read a configuration that could be read a moment ago."""


def prove(errand: Errand, config: Config) -> ExitStatus:
    """Show that this program, with this configuration, can take over. Raises `OperatorError` if not."""
    host.check_identity(config)
    log_files.check(config)
    try:
        state = handover.read(errand.state)
    except handover.FormError as error:
        print(f"arbiter: {error}", file=sys.stderr)
        return ExitStatus.FAILURE
    for generation in state.generations:
        recall(generation.config, config, config.chdir)
    verdict = {"arbiter": __version__, "python": platform.python_version()}
    os.write(errand.verdict, json.dumps(verdict).encode("ascii"))
    return ExitStatus.OK


class Heir:
    """The program that takes over. Made before anything else is: signals wait for it. Raises `FormError`."""

    def __init__(self, errand: Errand) -> None:
        self.state: State = handover.read(errand.state)
        for fd in self.state.descriptors():
            os.set_inheritable(fd, False)
        self.watch = Watch()
        self.watch.install()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._notifier = systemd.Notifier(os.environ)
        self._logs: Logs | None = None

    def load(self, loader: Loader) -> Config:
        """The configuration, which could be read a moment ago, and the logs opened by it; tried until it can
        be. Raises SystemExit when told to stop meanwhile.
        """
        said = ""
        while True:
            try:
                config = loader.load()
                self._logs = Logs(config)
                return config
            except OperatorError as error:
                if str(error) != said:
                    said = str(error)
                    print(
                        f"arbiter: {said}\nThe workers serve on; trying again.", file=sys.stderr, flush=True
                    )
            if self.watch.signalled() & {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}:
                self._leave()
            self._notifier.watchdog()
            time.sleep(PAUSE)

    def _leave(self) -> NoReturn:
        """End without having begun. The workers drain when their lifeline does."""
        for listener in self.state.listeners:
            if listener.path:
                with contextlib.suppress(OSError):
                    os.unlink(listener.path)
        raise SystemExit(ExitStatus.OK)

    def serve(self, loader: Loader, config: Config, entry: Entry) -> ExitStatus:
        """Be the arbiter until it has stopped; the process's exit status."""
        assert self._logs is not None
        state = self.state
        log = Log(f"arbiter (pid {os.getpid()})")
        host.dress(config, self._logs)
        listeners = [Listener(one.address, socket.socket(fileno=one.fd), one.path) for one in state.listeners]
        generations = self._generations(loader, config, log, listeners)
        current = generations[state.current]
        estate = Estate(
            generations=generations,
            current=current,
            book=state.book,
            scoreboard=Scoreboard(state.size, state.scoreboard, state.relay),
            lifeline=state.lifeline,
            started=state.started,
            rows=state.rows,
            watch=self.watch,
        )
        (before,) = (
            recall(each.config, config, loader.cwd)
            for each in state.generations
            if each.number == state.current
        )
        pidfile = self._move_pidfile(before, config, log)
        arbiter = Arbiter(estate, loader, self._logs, log, entry, self._notifier)
        arbiter.inventory.adopt(state, log)
        arbiter.outside.adopt(state.outside, before, config, os.environ)
        try:
            hooks.call(config, "on_starting", ServerFace(config, log, current.server.address))
        except Exception:
            log.exception("hook on_starting raised", event="hook.failed", fields={"hook": "on_starting"})
        try:
            return host.live(arbiter, arbiter.resume)
        finally:
            sockets.close_all(listeners)
            pidfile.release()

    def _generations(
        self, loader: Loader, config: Config, log: Log, listeners: list[Listener]
    ) -> dict[int, Generation]:
        """Those that may still be forked from, as they were."""
        found: dict[int, Generation] = {}
        workers: dict[int, Any] = {}
        for record in self.state.generations:
            mine = [listeners[index] for index in record.listeners]
            remembered = recall(record.config, config, loader.cwd, upgraded=True)
            face = ServerFace(remembered, log, [listener.url for listener in mine])
            face.WORKERS = workers
            found[record.number] = Generation(record.number, remembered, mine, face)
        found[self.state.current].server.num_workers = len(self.state.book.slots)
        return found

    def _move_pidfile(self, before: Config, config: Config, log: Log) -> Pidfile:
        """An upgrade can give the pidfile another name; if that cannot be, it stays where it is."""
        old, new = Pidfile(before.pidfile or ""), Pidfile(config.pidfile or "")
        if old.path == new.path:
            return old
        try:
            new.claim()
        except OperatorError as error:
            log.error("%s", error, event="arbiter.failed")
            return old
        old.release()
        return new
