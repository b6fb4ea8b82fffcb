"""The arbiter: wait, read events, ask the policy, perform actions.

Neighbours: `watch` waits, `policy` decides, `spawn` and `listeners` do. Its one rule: nothing here blocks
and nothing here decides; an action that can fail answers with an event.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from arbiter import hooks
from arbiter.config.setting import Effect
from arbiter.config.snapshot import diff
from arbiter.config.sources import Loader
from arbiter.counted import counted
from arbiter.errors import ExitStatus, OperatorError
from arbiter.hooks import ServerFace, WorkerFace
from arbiter.link import spawn
from arbiter.link.channel import Receiver, channel
from arbiter.link.messages import Spawn
from arbiter.link.scoreboard import Word
from arbiter.link.spec import WorkerSpec
from arbiter.link.stacks import StackFile
from arbiter.observe import logs as log_files
from arbiter.observe.logs import Log, Logs
from arbiter.supervisor import actions as act
from arbiter.supervisor import events as ev
from arbiter.supervisor import listeners as sockets
from arbiter.supervisor.book import FOREVER, Child
from arbiter.supervisor.dumps import Dumps
from arbiter.supervisor.estate import Estate
from arbiter.supervisor.foundry import Foundry, Order
from arbiter.supervisor.generation import Generation
from arbiter.supervisor.health import Health, Patience, Watched
from arbiter.supervisor.inventory import Inventory
from arbiter.supervisor.journal import Journal
from arbiter.supervisor.ledger import Ledger, Living
from arbiter.supervisor.output import Outputs
from arbiter.supervisor.outside import Outside
from arbiter.supervisor.policy import Policy
from arbiter.supervisor.procfs import OomCounter, shared_mib
from arbiter.supervisor.recycle import Bounds, Recycler
from arbiter.supervisor.scaler import Scaler
from arbiter.supervisor.states import SERVING
from arbiter.supervisor.systemd import Notifier
from arbiter.supervisor.trial import Trial
from arbiter.supervisor.upgrade import Succession, installation, program
from arbiter.supervisor.view import View

MEASURED: Final = 4
"""Workers whose memory is looked at, when all are ready, to say what a mold saves; a millisecond each."""

NEEDED: Final = {Effect.UPGRADE: "an upgrade (USR2) or a restart", Effect.RESTART: "a restart"}
"""What it takes to change a setting that a reload cannot."""

Entry = Callable[[WorkerSpec], int]


class Arbiter:
    """One running arbiter; `run` is its life."""

    def __init__(
        self, estate: Estate, loader: Loader, logs: Logs, log: Log, entry: Entry, notifier: Notifier
    ) -> None:
        self.log = log
        self.logs = logs
        self.generations = estate.generations
        self.current = estate.current
        self.loader = loader
        self.policy = Policy(estate.book)
        self.watch = estate.watch
        self.status: ExitStatus | None = None
        self._entry = entry
        self._notifier = notifier
        self._scoreboard = estate.scoreboard
        self._rows = estate.rows
        self._faces: dict[int, WorkerFace] = {}
        self._lifeline_read, self._lifeline_write = estate.lifeline
        self._foundry = Foundry(loader, self._scoreboard, self._lifeline_read)
        self._dumps = Dumps(log, self.watch.send, self._name)
        self._outputs = Outputs(self.watch, self._name)
        self._health = Health(time.monotonic())
        self._recycler = Recycler()
        self._oom = OomCounter()
        self.outside = self._make_outside(estate.started)
        self._scaler = Scaler(self.outside.view, self.watch)
        self._watchdog_due = 0.0 if notifier.interval else FOREVER
        self._trial: Trial | None = None
        self._succession = Succession(self.watch, installation(loader))
        self.inventory = Inventory(
            estate, self._faces, self._foundry, self._dumps, self._outputs, self.outside
        )
        self._pending: deque[ev.Event] = deque()
        self._performers: dict[type[Any], Callable[[Any], None]] = {
            act.Fork: self._fork,
            act.Cast: self._cast,
            act.Melt: lambda action: self.watch.send(action.key, signal.SIGKILL, group=True),
            act.Restore: self._restore,
            act.Forget: self._forget,
            act.Send: lambda action: self.watch.send(action.key, action.signal, group=action.group),
            act.Dump: lambda action: self.outside.dump(action, time.monotonic()),
            act.Inspect: self._inspect,
            act.Examine: self._examine,
            act.Load: self._load,
            act.Prove: self._prove,
            act.Replace: self._replace,
            act.Commit: self._commit,
            act.Abandon: self._abandon,
            act.Say: self._say,
            act.Reopen: self._reopen,
            act.Resized: self._resized,
            act.Opened: self._opened,
            act.Settled: lambda action: self._notifier.ready(action.text),
            act.Leaving: lambda action: self._notifier.status("stopping soon"),
            act.Closing: self._closing,
            act.Exit: self._exit,
        }

    def _say(self, action: act.Say) -> None:
        self.outside.say(action.level, action.name, action.text, action.fields)
        if action.level >= logging.CRITICAL and not self.policy.book.served:
            self.logs.tell_terminal(self.log.who, action.text)

    def run(self) -> ExitStatus:
        """Serve until told to stop and the last child is reaped."""
        self.watch.install()
        self._perform(self.policy.start(time.monotonic()))
        return self._live()

    def resume(self) -> ExitStatus:
        """Go on with what was adopted from another program in this same process (see `heir`)."""
        self._perform(self.policy.resume(program(), time.monotonic()))
        return self._live()

    def _live(self) -> ExitStatus:
        while self.status is None:
            self._scaler.arm()
            happened = self.watch.wait(self._until_due())
            self._scaler.disarm()
            now = time.monotonic()
            self._pending.extend(happened or (ev.Tick(),))
            self._pending.extend(self._look(now))
            self._settle()
        self.outside.stop()
        return self.status

    def _make_outside(self, started: float) -> Outside:
        view = View(
            self.policy.book,
            self._scoreboard,
            self._rows,
            lambda: self.current,
            Journal(time.time),
            Ledger(),
            started,
        )
        return Outside(view, self.watch, self._dumps, self.log, lambda: _check(self.loader), self._disown)

    def _settle(self) -> None:
        """Let the policy see everything that is pending, also what its own actions bring about."""
        while self._pending and self.status is None:
            event = self._pending.popleft()
            if isinstance(event, ev.Asked):
                event = dataclasses.replace(event, loads=self._loads())
            elif isinstance(event, ev.Gone):
                event = self._bury(event)
            elif isinstance(event, ev.Forked):
                self._christen(event)
            elif isinstance(event, ev.ForkFailed):
                self._unmake(event.key)
            before = self.outside.view.journal.number
            self._perform(self.policy.decide(event, time.monotonic()))
            self.outside.decided(event, self.outside.view.journal.since(before))
        self.outside.settled()

    def _perform(self, actions: list[act.Action]) -> None:
        for action in actions:
            self._performers[type(action)](action)

    # -- time

    def _until_due(self) -> float:
        now = time.monotonic()
        due = min(self.policy.wake_at(), self._health.due, self._recycler.due)
        due = min(due, self._watchdog_due, self._dumps.due, self.outside.due)
        due = min(due, self._scaler.due, self._succession.due)
        if self._trial is not None:
            due = min(due, self._trial.deadline)
        return FOREVER if due == FOREVER else max(0.0, due - now)

    def _look(self, now: float) -> list[ev.Event]:
        """What time alone has brought about."""
        if now >= self._watchdog_due:
            self._notifier.watchdog()
            self._watchdog_due = now + self._notifier.interval
        if self._trial is not None and now >= self._trial.deadline:
            return list(self._tried("reading the configuration took too long"))
        if now >= self._succession.due:
            return [self._succession.late()]
        self._dumps.collect(now)
        self.outside.look(now)
        config = self.current.config
        watched = [
            self._watched(key)
            for key, child in self.policy.book.children.items()
            if child.state in SERVING and key in self._rows
        ]
        bounds = Bounds(config.max_worker_age, config.max_worker_memory, config.max_worker_memory_hard)
        return [
            *self._health.look(watched, self._patience, now),
            *self._recycler.look(watched, bounds, now),
            *self._scaler.look(now),
        ]

    def _watched(self, key: int) -> Watched:
        child = self.policy.book.children[key]
        return Watched(key, child.pid, child.kind, self._scoreboard.row(self._rows[key]))

    @property
    def _patience(self) -> Patience:
        config = self.current.config
        return Patience(config.timeout, config.slow_request, config.request_timeout, config.threads)

    def _examine(self, action: act.Examine) -> None:
        """Tell the policy what is in work in one that was stuck."""
        now = time.monotonic()
        self._pending.append(self._health.in_work(self._watched(action.key), self._patience, now))

    def _loads(self) -> dict[int, int]:
        return {key: self._scoreboard.row(row).in_flight for key, row in self._rows.items()}

    # -- children

    def _fork(self, action: act.Fork) -> None:
        generation = self.generations[action.generation]
        face = WorkerFace(generation.config, self.log, age=action.key, nr=action.slot, ppid=os.getpid())
        try:
            row = self._free_row()
            if not action.mold:
                hooks.call(generation.config, "pre_fork", generation.server, face)
            receiver, theirs = channel()
            receiver.take_fds = partial(self._outputs.take, action.key)
            stacks = StackFile()
        except Exception as error:
            self.log.exception("a worker cannot be forked", event="worker.fork_failed")
            self._pending.append(ev.ForkFailed(action.key, f"{type(error).__name__}: {error}"))
            return
        self._scoreboard.row(row).clear(slot=action.slot, generation=action.generation)
        self._rows[action.key], self._faces[action.key] = row, face
        if action.mold:
            self._dumps.add(action.key, stacks)
            self._fork_from_mold(action, row, receiver, theirs, stacks)
            return
        spec = WorkerSpec(
            key=action.key,
            slot=action.slot,
            generation=action.generation,
            row=row,
            config=generation.config,
            listeners=[listener.socket for listener in generation.listeners],
            scoreboard=self._scoreboard,
            channel=theirs,
            stacks=stacks,
            lifeline=self._lifeline_read,
            arbiter=os.getpid(),
            logs=self.logs,
            server=generation.server,
            worker=face,
        )

        def child() -> int:
            self._disown(receiver.close)
            return self._entry(spec)

        try:
            pid = spawn.fork(child)
        except OSError as error:
            receiver.close()
            stacks.close()
            self._pending.append(ev.ForkFailed(action.key, str(error)))
            return
        finally:
            theirs.close()
        self._dumps.add(action.key, stacks)  # not before: a child closes all that are there
        self.watch.add_child(action.key, pid, receiver)
        self._pending.append(ev.Forked(action.key, pid))

    def _fork_from_mold(
        self, action: act.Fork, row: int, receiver: Receiver, theirs: socket.socket, stacks: StackFile
    ) -> None:
        """Have a mold fork a worker; `Forked` or `ForkFailed` comes when it has."""
        listeners = self.generations[action.generation].listeners
        addresses = [listener.url for listener in listeners]
        fds = (stacks.fd, *(listener.socket.fileno() for listener in listeners))
        order = Order(Spawn(action.key, action.slot, row, addresses), theirs, fds)
        try:
            self._foundry.spawn(action.mold, order)
        except (OSError, ValueError) as error:
            receiver.close()
            theirs.close()
            self._pending.append(ev.ForkFailed(action.key, str(error)))
        else:
            self.watch.expect(action.key, action.mold, receiver)

    def _cast(self, action: act.Cast) -> None:
        try:
            pid, receiver, stacks = self._foundry.cast(action.key, action.generation)
        except OSError as error:
            self._pending.append(ev.ForkFailed(action.key, str(error)))
            return
        receiver.take_fds = partial(self._outputs.take, action.key)
        self._dumps.add(action.key, stacks)
        self.watch.add_child(action.key, pid, receiver)
        self._pending.append(ev.Forked(action.key, pid))

    def _christen(self, event: ev.Forked) -> None:
        """A child exists, and this is its number."""
        face = self._faces.get(event.key)
        if face is not None:
            self._scoreboard.row(self._rows[event.key]).words[Word.PID] = event.pid
            face.pid = event.pid
            self.current.server.WORKERS[event.pid] = face
            self._foundry.answered(event.key)

    def _unmake(self, key: int) -> None:
        """A child will not exist."""
        self._foundry.answered(key)
        self._dumps.bury(key)
        self._rows.pop(key, None)
        self._faces.pop(key, None)

    def _name(self, key: int) -> tuple[str, dict[str, int]]:
        """A worker's or a mold's name in the log, and what belongs to each of its records."""
        book = self.policy.book
        one = book.molds.get(key) or book.children[key]
        pid = self.watch.pid(key) or one.pid  # the one is known before it is told, the other after the death
        fields = {"generation": one.generation, "pid": pid}
        if isinstance(one, Child):
            return f"worker {one.slot} (gen {one.generation}, pid {pid})", {"worker": one.slot, **fields}
        return f"mold (gen {one.generation}, pid {pid})", fields

    def _disown(self, *more: Callable[[], None]) -> None:
        """In a child: close what is the arbiter's alone."""
        self.watch.abandon()
        self._dumps.abandon()
        self._outputs.abandon()
        self.outside.abandon()
        self._succession.abandon()
        os.close(self._lifeline_write)
        for close in more:
            close()

    def _free_row(self) -> int:
        taken = set(self._rows.values())
        for row in range(len(self._scoreboard)):
            if row not in taken:
                self._scoreboard.reach(row)
                return row
        raise OSError(f"all {len(self._scoreboard)} rows of the scoreboard are taken")

    def _bury(self, event: ev.Gone) -> ev.Gone:
        """A child has been reaped: what it was doing goes into the event, its row is free, the hook is
        told.
        """
        now = time.monotonic()
        self._foundry.gone(event.key)
        self._dumps.bury(event.key)
        self._outputs.bury(event.key)
        row = self._rows.pop(event.key, None)
        face = self._faces.pop(event.key, None)
        if row is not None:
            lanes = self._scoreboard.row(row).lanes()
            requests = tuple((lane.text, now - lane.since_ns / 1e9) for lane in lanes)
            event = dataclasses.replace(event, requests=requests, no_memory=self._oom.rose())
            child = self.policy.book.children[event.key]
            self.outside.bury(Living(event.key, child.slot, child.pid, self._scoreboard.row(row)))
            self._scoreboard.row(row).clear()
        if face is not None:
            self.current.server.WORKERS.pop(int(face.pid), None)
            self._hook("child_exit", self.current.server, face)
        return event

    def _inspect(self, action: act.Inspect) -> None:
        """Add up what the new generation and the others have answered."""
        children = self.policy.book.children
        sums = {True: [0, 0], False: [0, 0]}
        for child in self.policy.book.serving():
            row = self._scoreboard.row(self._rows[child.key])
            side = sums[child.generation == children[action.key].generation]
            side[0] += row[Word.REQUESTS]
            side[1] += row[Word.STATUS_5XX]
        self._pending.append(ev.Inspected(action.key, *sums[True], *sums[False]))

    # -- configurations

    def _load(self, action: act.Load) -> None:
        self._notifier.reloading()
        try:
            self._trial = Trial(
                action.generation, lambda: _check(self.loader), self._disown, time.monotonic()
            )
        except OSError as error:
            self._pending.append(ev.Refused(f"no process to read the configuration in: {error}"))
            return
        self.watch.add_reader(self._trial.fileno(), self._trial_said)

    def _trial_said(self) -> list[ev.Event]:
        if self._trial is None or not self._trial.read():
            return []
        return self._tried(self._trial.problem)

    def _tried(self, problem: str) -> list[ev.Event]:
        trial, self._trial = self._trial, None
        if trial is None:
            return []
        self.watch.remove_reader(trial.fileno())
        trial.end()
        if problem:
            return [ev.Refused(problem)]
        try:
            return [self._accept(trial.generation)]
        except OperatorError as error:
            return [ev.Refused(str(error))]
        except Exception as error:
            text = "reload: the configuration was read once and cannot be read again"
            self.log.exception(text, event="config.unread")
            return [ev.Refused(f"{type(error).__name__}: {error}")]

    def _accept(self, number: int) -> ev.Loaded:
        """Make the next generation of the configuration as it is now."""
        config = self.loader.load()
        held = self.current.listeners
        opened = sockets.open_all(config, had=held) if config.bind != self.current.config.bind else held
        face = ServerFace(config, self.log, [listener.url for listener in opened])
        face.WORKERS = self.current.server.WORKERS
        generation = Generation(number, config, opened, face)
        self.generations[number] = generation
        self._hook("on_reload", face)
        for notice in config.notices:
            self.log.warning("%s", notice, event="config.notice")
        changes = diff(self.current.config, config)
        for change in changes:
            if change.effect in (Effect.UPGRADE, Effect.RESTART):
                text = f"%s has changed; only {NEEDED[change.effect]} puts it in force"
                self.log.warning(text, change.name, event="config.notice", fields={"setting": change.name})
        said = ", ".join(f"{change} ({config.origin(change.name)})" for change in changes)
        return ev.Loaded(number, generation.rules, said)

    def _restore(self, action: act.Restore) -> None:
        """Have the addresses of a generation that was kept; everything else of it sleeps in its mold."""
        kept, now = self.generations[action.generation], self.current
        self._notifier.reloading()
        try:
            opened = now.listeners
            if kept.config.bind != now.config.bind:
                opened = sockets.open_all(kept.config, had=now.listeners)
        except OperatorError as error:
            self._pending.append(ev.Refused(str(error), back=True))
            return
        kept.server.address = [listener.url for listener in opened]
        self.generations[kept.number] = restored = dataclasses.replace(kept, listeners=opened)
        self._pending.append(ev.Loaded(kept.number, restored.rules, ""))

    def _commit(self, action: act.Commit) -> None:
        before, self.current = self.current, self.generations[action.generation]
        self.generations = {action.generation: self.current}
        if action.kept:
            self.generations[before.number] = before
        gone = [listener for listener in before.listeners if listener not in self.current.listeners]
        sockets.close_all(gone)
        try:
            self.logs.reconfigure(self.current.config)
        except OperatorError as error:
            self.log.error("%s", error, event="logs.failed")
        self.outside.reconfigure(self.current.config)
        for listener in self.current.listeners:
            if listener not in before.listeners:
                said = {"url": listener.url}
                self.log.info("Listening at: %s", listener.url, event="arbiter.listening", fields=said)

    def _abandon(self, action: act.Abandon) -> None:
        generation = self.generations.get(action.generation)
        if generation is None or generation is self.current:
            return
        del self.generations[action.generation]
        self.loader.revert()
        sockets.close_all(one for one in generation.listeners if one not in self.current.listeners)

    def _forget(self, action: act.Forget) -> None:
        """A rollback has failed, or there will be none."""
        generation = self.generations[action.generation]
        sockets.close_all(one for one in generation.listeners if one not in self.current.listeners)
        if not action.kept:
            del self.generations[action.generation]

    # -- upgrade in place

    def _prove(self, action: act.Prove) -> None:
        deadline = time.monotonic() + self.policy.book.rules.boot_timeout
        gather = partial(self.inventory.state, self.generations, self.current)
        self._pending.extend(self._succession.prove(gather, deadline))

    def _replace(self, action: act.Replace) -> None:
        cut = self._dumps.due != FOREVER or self.outside.busy
        if self._pending or self._trial or (cut and not action.anyway):
            self._pending.append(ev.Unripe())
            return
        if self._watchdog_due != FOREVER:
            self._notifier.watchdog()  # the next one comes when the new program has been loaded
        gather = partial(self.inventory.state, self.generations, self.current)
        hook = partial(hooks.call, self.current.config, "pre_exec", self.current.server)
        self._pending.append(self._succession.replace(gather, hook))

    # -- the rest

    def _reopen(self, action: act.Reopen) -> None:
        problem = ""
        try:
            self.logs.reopen()
        except OperatorError as error:
            problem = str(error)
        for key in self._rows:
            child = self.policy.book.children.get(key)
            if child is not None and child.state in SERVING:
                self.watch.send(key, signal.SIGUSR1)
        self._foundry.reopen_logs()
        if problem:
            self.outside.say(logging.ERROR, "logs.failed", problem, {})
        else:
            self.outside.say(logging.INFO, "logs.reopened", "logs reopened", {})

    def _resized(self, action: act.Resized) -> None:
        self.current.server.num_workers = action.new
        self._hook("nworkers_changed", self.current.server, action.new, action.old)

    def _opened(self, action: act.Opened) -> None:
        self._hook("when_ready", self.current.server)
        self._notifier.ready(f"{counted(action.workers, 'worker')} ready")
        pids = [child.pid for child in self.policy.book.serving() if child.mold][:MEASURED]
        shares = shared_mib(pids)
        if shares:
            who = counted(action.workers, "worker shares", "workers share")
            text = f"{who} {shares[0]} of {shares[1]} MiB"
            self.outside.say(logging.INFO, "mold.shares", text, {"shared": shares[0], "occupied": shares[1]})

    def _closing(self, action: act.Closing) -> None:
        self._notifier.stopping()
        self._succession.end()
        self._scoreboard.close()
        for generation in self.generations.values():
            for listener in generation.listeners:
                sockets.deafen(listener)
            sockets.close_all(generation.listeners)

    def _exit(self, action: act.Exit) -> None:
        self.status = action.status

    def _hook(self, name: str, *args: Any) -> None:
        """Call a hook whose failure concerns nobody else: it is logged."""
        try:
            hooks.call(self.current.config, name, *args)
        except Exception:
            self.log.exception("hook %s raised", name, event="hook.failed", fields={"hook": name})


def _check(loader: Loader) -> None:
    """What a trial does: read all of it, try the logs, keep nothing."""
    log_files.check(loader.load())
