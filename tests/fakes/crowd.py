"""Workers that share one listener, on a machine with few processors and a clock of its own.

The acceptors, gates and scoreboard are the real ones; the kernel is not: its queue, the line of those who
wait for it, of whom one is woken (EPOLLEXCLUSIVE, see `workers.accept`), and who has a processor when. A
crowd of the same seed always does the same.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import socket
from collections.abc import Callable
from typing import Any

from arbiter.link.relay import Relay
from arbiter.link.scoreboard import Scoreboard, State, Word
from arbiter.workers.accept import Acceptor
from arbiter.workers.gate import Gate
from tests.fakes.workers import FakeListener, FakeLog

WAKE = 60e-6
ACCEPT = 40e-6
"""Seconds of a processor that a wake-up and that a connection takes."""


class Connection:
    """What a listener of the crowd gives out."""

    def setblocking(self, flag: bool) -> None:
        assert not flag


class Listener(FakeListener):
    """One worker's copy of the listener."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    def accept(self) -> tuple[Any, Any]:
        return self._crowd.accept(), ("192.0.2.1", 5)

    def fileno(self) -> int:
        return self._crowd.fileno()


class Worker:
    """A worker that does nothing but accept, and its loop's `ListenerWatch`."""

    def __init__(self, crowd: Crowd, index: int, lasts: float, *, gated: bool) -> None:
        self.crowd = crowd
        self.lasts = lasts
        self.held = 0
        """Connections that it has."""
        self.away_until = 0.0
        """It gets no processor before; a wake-up may all the same be its own, and spent on it."""
        self.asleep = True
        self.told = False
        """The kernel will look whether the listener is readable before this worker sleeps."""
        self.due: list[Callable[[], None]] = []
        self.row = crowd.board.row(index)
        self.row.clear(pid=1000 + index)
        crowd.board.reach(index)
        gate = Gate(crowd.board, self.row, lambda: self.held, clock=lambda: crowd.now) if gated else None
        listener: Any = Listener(crowd)
        log: Any = FakeLog()
        self.listener = listener
        self.acceptor = Acceptor([listener], self, self.adopt, lambda: 10_000 - self.held, log, gate)

    def start(self) -> None:
        self.acceptor.start()
        self.row.set_state(State.READY)

    def watch(self, source: Any) -> None:
        if not isinstance(source, Relay):
            self.crowd.line.append(self)
            self.told = bool(self.crowd.queue)

    def unwatch(self, source: Any) -> None:
        if not isinstance(source, Relay):
            self.crowd.line.remove(self)
            self.told = False

    def forget(self, source: Any) -> None:
        """Nothing to forget."""

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        def fire() -> None:
            self.due.append(call)
            self.crowd.wake(self)

        self.crowd.at(self.crowd.now + seconds, fire)

    def adopt(self, sock: Any, address: Any, listener: Any) -> bool:
        self.have(self.held + 1)
        self.row.add(Word.ACCEPTED)
        if self.lasts < float("inf"):
            self.crowd.at(self.crowd.now + self.lasts, lambda: self.have(self.held - 1))
        return True

    def have(self, count: int) -> None:
        self.held = count
        self.row.connections(count)

    def turn(self) -> float:
        """One turn of the loop; how many seconds it takes."""
        before = self.row[Word.ACCEPTED]
        due, self.due = self.due, []
        for call in due:
            call()
        if self.told:
            self.acceptor.ready(self.listener)
        return WAKE + ACCEPT * (self.row[Word.ACCEPTED] - before)


class Crowd:
    """`count` workers. lasts: seconds after which a connection ends; gated: with or without their gates."""

    def __init__(
        self,
        count: int,
        *,
        processors: int = 2,
        seed: int = 0,
        lasts: float = float("inf"),
        gated: bool = True,
    ) -> None:
        self.now = 100.0
        self.queue: list[float] = []
        """When each of those that wait came."""
        self.waits: list[float] = []
        """How many seconds each of the others waited."""
        self.line: list[Worker] = []
        self.board = Scoreboard(count)
        self._chance = random.Random(seed)
        self._idle = processors
        self._runnable: list[Worker] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._reader, self._writer = socket.socketpair()
        self.workers = [Worker(self, index, lasts, gated=gated) for index in range(count)]
        for worker in self.workers:
            worker.start()

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
        for descriptor in (self.board.fd, self.board.relay.fd):
            if descriptor >= 0:
                os.close(descriptor)

    def fileno(self) -> int:
        """Readable as long as a connection waits."""
        return self._reader.fileno()

    @property
    def held(self) -> list[int]:
        """How many connections each worker has, the most first."""
        return sorted((worker.held for worker in self.workers), reverse=True)

    def keep_away(self, worker: int, seconds: float = float("inf")) -> None:
        """That worker is stopped, or others have the processors."""
        self.workers[worker].away_until = self.now + seconds
        if seconds < float("inf"):
            self.at(self.now + seconds, lambda: None)

    def burst(self, count: int, every: float = 30e-6) -> None:
        """So many connections come, from now on."""
        for number in range(count):
            self.at(self.now + number * every, self._arrive)

    def at(self, time: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), call))

    def run(self, seconds: float = float("inf")) -> None:
        """Until nothing happens any more, or for so long."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, call = heapq.heappop(self._events)
            call()
            self._dispatch()

    def accept(self) -> Connection:
        if not self.queue:
            raise BlockingIOError
        self.waits.append(self.now - self.queue.pop(0))
        if not self.queue:
            self._reader.recv(1)
        return Connection()

    def wake(self, worker: Worker) -> None:
        if worker.asleep:
            worker.asleep = False
            self._runnable.append(worker)

    def _arrive(self) -> None:
        if not self.queue:
            self._writer.send(b"\0")
        self.queue.append(self.now)
        for worker in self.line:
            worker.told = True
            if worker.asleep:
                self.wake(worker)
                return

    def _dispatch(self) -> None:
        while self._idle:
            ready = [one for one in self._runnable if one.away_until <= self.now]
            if not ready:
                return
            worker = self._chance.choice(ready[:2])  # nearly in the order of their wake-ups
            self._runnable.remove(worker)
            self._idle -= 1
            self.at(self.now + worker.turn(), lambda worker=worker: self._turned(worker))  # type: ignore[misc]

    def _turned(self, worker: Worker) -> None:
        self._idle += 1
        worker.told = worker.told and bool(self.queue)
        if worker.told or worker.due:
            self._runnable.append(worker)
        else:
            worker.asleep = True
