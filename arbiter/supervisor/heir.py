"""Upgrade in place, the new program's side: prove that it can take over, and take over.

Neighbours: `cli` comes here when an arbiter has started this program (`errand`), `handover` is what
was passed on; then it is `host` and `arbiter` as after a start. Its one rule: a proof touches nothing; and
once the exec has happened there is no way back, so whatever then fails is waited for or told, while the
workers serve on.
"""

from __future__ import annotations

import contextlib
import json
import os
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
from arbiter.observe.logs import Log, Logs
from arbiter.supervisor import handover, host, systemd
from arbiter.supervisor import listeners as sockets
from arbiter.supervisor.arbiter import Arbiter, Entry
from arbiter.supervisor.errand import Errand
from arbiter.supervisor.estate import Estate
from arbiter.supervisor.generation import Generation
from arbiter.supervisor.handover import State
from arbiter.supervisor.listeners import Listener
from arbiter.supervisor.pidfile import Pidfile
from arbiter.supervisor.plain import to_plain
from arbiter.supervisor.watch import Watch
from arbiter.version import PYTHON, __version__

COMPARED: Final = ("book", "rows", "children", "stacks", "pipes", "listeners")
"""Parts of the state that must be the same after a take-over."""
PAUSE: Final = 0.5
"""Seconds between two attempts to read a configuration that could be read a moment ago."""


def prove(errand: Errand, loader: Loader, config: Config, entry: Entry) -> ExitStatus:
    """Show that this program, with this configuration, can take over: by doing so, up to where others would
    notice. Raises `OperatorError` or `FormError` if it cannot.
    """
    host.check_identity(config)
    heir = Heir(errand)
    heir.logs = Logs(config)
    arbiter = heir.build(loader, config, entry)
    again = arbiter.inventory.state(arbiter.generations, arbiter.current)
    for part in COMPARED:
        if to_plain(getattr(again, part)) != to_plain(getattr(heir.state, part)):
            raise handover.FormError(f"the state has other {part} once it is taken over: a bug in arbiter")
    verdict = {"arbiter": __version__, "python": PYTHON}
    os.write(errand.verdict, json.dumps(verdict).encode("ascii"))
    return ExitStatus.OK


class Heir:
    """The program that takes over, or would. Raises `FormError`."""

    def __init__(self, errand: Errand) -> None:
        self.state: State = handover.read(errand.state)
        for fd in self.state.descriptors():
            os.set_inheritable(fd, False)
        self.watch = Watch()
        self.logs: Logs | None = None
        self._notifier = systemd.Notifier(os.environ)

    def begin(self) -> None:
        """Take the signals over, which have waited since before the exec."""
        self.watch.install()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def load(self, loader: Loader) -> Config:
        """The configuration, which could be read a moment ago, and the logs opened by it; tried until it can
        be. Raises SystemExit when told to stop meanwhile.
        """
        said = ""
        while True:
            try:
                config = loader.load()
                self.logs = Logs(config)
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
        assert self.logs is not None
        host.dress(config, self.logs)
        arbiter = self.build(loader, config, entry)
        before = recall(self.state.began, config, loader.cwd)
        current, log = arbiter.current, arbiter.log
        pidfile = self._move_pidfile(before, config, log)
        arbiter.outside.adopt(self.state.outside, before, config, os.environ)
        try:
            hooks.call(config, "on_starting", ServerFace(config, log, current.server.address))
        except Exception:
            log.exception("hook on_starting raised", event="hook.failed", fields={"hook": "on_starting"})
        try:
            return host.live(arbiter, arbiter.resume)
        finally:
            for generation in arbiter.generations.values():
                sockets.close_all(generation.listeners)
            pidfile.release()

    def build(self, loader: Loader, config: Config, entry: Entry) -> Arbiter:
        """The arbiter as it was. Nobody else notices."""
        assert self.logs is not None
        state, log = self.state, Log(f"arbiter (pid {self.state.pid})")
        generations = self._generations(loader, config, log)
        current = generations[state.current]
        estate = Estate(
            generations=generations,
            current=current,
            began=config,
            book=state.book,
            scoreboard=Scoreboard(state.size, state.scoreboard, state.relay),
            lifeline=state.lifeline,
            started=state.started,
            rows=state.rows,
            watch=self.watch,
        )
        arbiter = Arbiter(estate, loader, self.logs, log, entry, self._notifier)
        arbiter.inventory.adopt(state, log)
        return arbiter

    def _generations(self, loader: Loader, config: Config, log: Log) -> dict[int, Generation]:
        """Those that may still be forked from, as they were."""
        records = self.state.listeners
        listeners = [Listener(one.address, socket.socket(fileno=one.fd), one.path) for one in records]
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
            note = new.claim()
        except OperatorError as error:
            log.error("%s", error, event="arbiter.failed")
            return old
        if note:
            log.warning("%s", note, event="pidfile.stale")
        old.release()
        return new
