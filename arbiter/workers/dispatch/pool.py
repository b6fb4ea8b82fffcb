"""The threaded kind: the main thread reads requests, a pool of threads answers them.

Neighbours: a `Core` whose `serve` puts the complete request into a queue. Its one rule: a request changes
hands once. The thread that takes it runs the application, writes to the socket itself and puts the
connection back into the poller (EPOLLONESHOT: nobody else has looked at it in the meantime); there is no
way back through the loop, hence no lock and no wake-up on the usual way.

The threads are daemons: one that never returns from the application cannot keep the process from exiting.
"""

from __future__ import annotations

import socket
import threading
import time
from queue import SimpleQueue
from typing import Any, Final, TypeAlias

from arbiter.deadline import CURRENT
from arbiter.link.scoreboard import Row
from arbiter.protocols.events import Event, Request
from arbiter.workers.connection import CLOSED, FOREVER, SERVING, Connection
from arbiter.workers.context import WorkerContext
from arbiter.workers.core import Core
from arbiter.workers.exchange import describe
from arbiter.workers.loop import ONESHOT

FULL_PAUSE: Final = 0.002
"""Seconds between two connections that are taken although every thread has its hands full ..."""
FULL_CHANCE: Final = 0.02
"""... and for how long after an answer that may be."""
LAST_WAIT: Final = 0.2
"""Seconds that threads between two requests are given to end."""

_Job: TypeAlias = tuple[Connection, Request, Any, int]


class _Work:
    """What a thread has in work; see `deadline.Extendable`."""

    __slots__ = ("_row", "conn")

    def __init__(self, row: Row) -> None:
        self._row = row
        self.conn: Connection | None = None

    def extend(self, seconds: float) -> bool:
        conn = self.conn
        return conn is not None and self._row.extend(conn.lane, conn.started_ns, int(seconds * 1e9))


class Pool(Core):
    """The main thread's loop and its `threads` threads."""

    def __init__(self, ctx: WorkerContext) -> None:
        super().__init__(ctx, multithread=True)
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._given: list[None] = []
        """As long as there are requests in the queue or in a thread's hands: append and pop are atomic."""
        self._count = max(1, ctx.config.threads)
        self._next_chance = self._chance_until = 0.0
        self._threads = [
            threading.Thread(target=self._work, name=f"arbiter-{index}", daemon=True)
            for index in range(self._count)
        ]

    def run(self) -> int:
        """As `Core.run`; the threads live as long as the loop."""
        for thread in self._threads:
            thread.start()
        return super().run()

    def release(self) -> None:
        """End the threads, as far as they are idle; one that is not keeps what it needs until the process
        exits.
        """
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + LAST_WAIT
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if not any(thread.is_alive() for thread in self._threads):
            super().release()

    def room(self) -> int:
        """None while every thread has its hands full: a sibling is the better place then.

        If none accepts, the clients that are there must not keep out the new ones: one is taken now and then,
        as long as requests get answered. Where the threads are stuck it waits in the kernel's queue, which is
        not lost with this process.
        """
        if len(self._given) >= self._count:
            now = time.monotonic()
            if now >= self._chance_until or (self.gate is not None and self.gate.others_accept(now)):
                return 0
        return super().room()

    def adopt(self, sock: socket.socket, address: Any, listener: socket.socket) -> bool:
        """As `Core.adopt`."""
        self._chance_until = 0.0
        return super().adopt(sock, address, listener)

    def _gives_chance(self) -> bool:
        """Asked by a thread that has answered a request: whether there may be room now."""
        if len(self._given) < self._count:
            return True
        now = time.monotonic()
        if now < self._next_chance:
            return False
        self._next_chance = now + FULL_PAUSE
        self._chance_until = now + FULL_CHANCE
        return True

    def serve(self, conn: Connection, request: Request, stream: Any, length: int) -> list[Event] | None:
        """Leave it to the next free thread."""
        conn.state = SERVING
        conn.deadline = FOREVER
        conn.request = request
        conn.started_ns = time.monotonic_ns()
        self._given.append(None)
        self._queue.put((conn, request, stream, length))
        return None

    def watch_connection(self, conn: Connection, mask: int) -> None:
        """Armed for one event: whoever gets it owns the connection."""
        if conn.mask:
            self.poller.modify(conn.fd, mask | ONESHOT)
        else:
            conn.mask = mask
            self.poller.register(conn.fd, mask | ONESHOT)

    def _work(self) -> None:
        """The life of one thread."""
        take = self._queue.get
        work = _Work(self._row)
        CURRENT.set(work)
        while True:
            job = take()
            if job is None:
                return
            work.conn = job[0]
            self._take_one(*job)
            self._given.pop()
            work.conn = None
            del job  # nothing of a request is kept alive by an idle thread
            if not self.acceptor.watching and self._gives_chance():
                self.waker.wake()

    def _take_one(self, conn: Connection, request: Request, stream: Any, length: int) -> None:
        try:
            events = self.answer(conn, request, stream, length)
            if events is not None:
                # A request that was pipelined goes to the queue's end: the others come first.
                self.process(conn, events, time.monotonic())
        except BaseException:
            # A KeyboardInterrupt the application raised, or a fault of our own: the thread lives.
            if conn.state != CLOSED:  # by the loop, at its end, while this thread gave it back
                self.ctx.log.exception("%s: the connection is closed", describe(conn), event="request.failed")
            self.close(conn)
        if self.over:
            self.close(conn)  # the loop is no longer there to do it

    def close(self, conn: Connection, *, reset: bool = False) -> None:
        """As `Core.close`, from any thread."""
        super().close(conn, reset=reset)
        if self.draining:
            self.waker.wake()  # it may have been the last one

    def freed(self) -> None:
        """As `Core.freed`, from any thread."""
        self.waker.wake()

    def sweep_by(self, deadline: float, now: float) -> None:
        """As `Core.sweep_by`, from any thread."""
        super().sweep_by(deadline, now)
        self.waker.wake()
