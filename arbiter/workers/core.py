"""The worker without an event loop: one thread that accepts, reads requests, and minds the clock.

Neighbours: `dispatch.turns` and `dispatch.pool` are a `Core` each and say how a complete request reaches the
application; `accept` decides what is accepted, `conversation` what is done with a connection on which
something has happened, `exchange` how a request is answered. Its one rule: the loop waits for everybody and
for nobody in particular; whoever is too slow meets a deadline.

Deadlines are numbers in the connections, written as a connection changes its state and read by a sweep that
runs when the nearest one may be due, at most once a second: nothing is kept in order on the way of a request.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from arbiter.errors import ExitStatus
from arbiter.link.messages import DRAINING
from arbiter.link.scoreboard import State, Word
from arbiter.observe.lines import http_date
from arbiter.workers.accept import Acceptor, Source
from arbiter.workers.connection import (
    BODY,
    CLOSED,
    DEFERRED,
    FLUSHING,
    FOREVER,
    HEAD,
    PROXY,
    SERVING,
    WAITING,
    Connection,
)
from arbiter.workers.context import WorkerContext
from arbiter.workers.conversation import Conversations
from arbiter.workers.gate import Gate
from arbiter.workers.limits import DRAIN_GRACE
from arbiter.workers.loop import EXCLUSIVE, READ, Waker, new_poller
from arbiter.workers.orders import Stop
from arbiter.workers.readiness import Probe

EVENTS: Final = 256
"""Most events taken from one poll."""
DRAIN_TICK: Final = 0.1
"""Seconds between two looks at the clock while draining."""
BEAT: Final = 5.0
"""Seconds an idle worker sleeps at most: its sign of life on the scoreboard."""


class Core(Conversations):
    """The loop; `serve` and `watch_connection` are a dispatcher's own."""

    def __init__(self, ctx: WorkerContext, *, multithread: bool) -> None:
        super().__init__(ctx, multithread=multithread)
        self.poller = new_poller()
        self.waker = Waker()
        self.connections: dict[int, Connection] = {}
        self.bound = ctx.config.worker_connections
        self.gate: Gate | None = None
        if ctx.scoreboard is not None:
            load = self.connections.__len__
            self.gate = Gate(ctx.scoreboard, ctx.row, load, away=not multithread)
        self.acceptor = Acceptor(ctx.listeners, self, self.adopt, self.room, ctx.log, self.gate)
        self._listeners: dict[int, Source] = {}
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._next_tick = 0.0
        self._next_sweep = FOREVER
        self._timeout = 0.0
        self._grace_end = FOREVER
        self.over = False
        """The loop has ended; whoever still has a connection closes it."""

    # -- what a dispatcher may change

    def room(self) -> int:
        """How many more connections may be accepted now."""
        return self.bound - len(self.connections)

    # -- the loop

    def run(self) -> int:
        """Serve until told to stop and the rest is done."""
        orders = self.ctx.orders
        self.poller.register(orders.fileno(), READ)
        self.poller.register(self.waker.fileno(), READ)
        self.tick(time.monotonic())
        try:
            if self.ctx.config.readiness_path and not self._prove():
                return ExitStatus.BOOT
            if orders.read() is Stop.NO:
                self.acceptor.start()
                self.ctx.ready()
            if orders.read() is not Stop.NO:
                self._obey(time.monotonic())
            while not self._done():
                self._turn()
        finally:
            self._cut()
            self.release()
        return ExitStatus.OK

    def _prove(self) -> bool:
        """Answer one request before anybody else's; False (and told) if it is not answered well."""
        probe = Probe(self.ctx.config)
        self.ctx.enter(probe.step)
        self.poller.register(probe.sock.fileno(), READ)
        self.adopt(probe.theirs, None, probe.theirs)
        while not probe.read() and self.ctx.orders.stop is Stop.NO:
            self._turn()
        self.poller.unregister(probe.sock.fileno())
        probe.close()
        if probe.over and probe.problem:
            self.ctx.boot_failed(probe.problem)
            return False
        return True

    def _turn(self) -> None:
        """Sleep, then act on everything that has happened."""
        events = self.poller.poll(0.0 if self.deferred else self._timeout, EVENTS)
        now = time.monotonic()
        if now >= self._next_tick:
            self.tick(now)
        connections = self.connections
        others: list[int] | None = None
        if len(events) > 1 and not self._multithread and any(fd in self._listeners for fd, _ in events):
            self.acceptor.offer()  # it would wait until the requests that have come, too, are answered
        for fd, mask in events:
            conn = connections.get(fd)
            if conn is not None:
                if conn.state <= BODY:
                    self.readable(conn, now)
                else:
                    self.happened(conn, mask, now)
            elif others is None:
                others = [fd]
            else:
                others.append(fd)
        if others is not None:
            for fd in others:
                self._happened(fd, now)
        if self.deferred:
            self.deferred, deferred = [], self.deferred
            for conn, held in deferred:
                self.process(conn, held, now)
        if now >= self._next_sweep:
            self._sweep(now)

    def _happened(self, fd: int, now: float) -> None:
        """Something that is not a connection: a listener, an order, a thread."""
        listener = self._listeners.get(fd)
        if listener is not None:
            self.acceptor.ready(listener)
        elif fd == self.ctx.orders.fileno():
            self._obey(now)
        elif fd == self.waker.fileno():
            self.waker.clear()
            self._make_room()

    def _set_timeout(self, now: float) -> None:
        """How long the next polls may sleep. Used until the next tick, so it may come out a second too
        long.
        """
        until = now + BEAT
        if self.connections:
            until = min(until, self._next_sweep)
        for at, _call in self._timers:
            until = min(until, at)
        if self.draining:
            until = min(until, self.ctx.orders.deadline, self._grace_end)
        self._timeout = max(0.0, until - now)

    def tick(self, now: float) -> None:
        """At most once a second: the date of the answers, the sign of life, and timers."""
        self._next_tick = now + (1.0 if not self.draining else DRAIN_TICK)
        self.defaults.refresh(http_date(time.time()))
        self.ctx.row.beat(time.monotonic_ns())
        self.update_closing(now)
        due = [call for at, call in self._timers if at <= now]
        if due:
            self._timers = [timer for timer in self._timers if timer[0] > now]
            for call in due:
                call()
        self._set_timeout(now)
        self.acceptor.look()

    # -- accepting

    def watch(self, source: Source) -> None:
        """As `accept.ListenerWatch`."""
        self._listeners[source.fileno()] = source
        self.poller.register(source.fileno(), READ | EXCLUSIVE)

    def unwatch(self, source: Source) -> None:
        """As `accept.ListenerWatch`."""
        del self._listeners[source.fileno()]
        self.poller.unregister(source.fileno())

    def forget(self, source: Source) -> None:
        """As `accept.ListenerWatch`."""
        self._listeners.pop(source.fileno(), None)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """As `accept.ListenerWatch`."""
        at = time.monotonic() + seconds
        self._timers.append((at, call))
        self._next_tick = min(self._next_tick, at)
        self._timeout = min(self._timeout, seconds)

    def adopt(self, sock: socket.socket, address: Any, listener: socket.socket) -> bool:
        """Take a new connection in; its request is often there already."""
        now = time.monotonic()
        conn = self.new_connection(sock, address, listener, now)
        if not self.connections:
            self.sweep_by(now + max(1.0, self.times.shortest), now)
        self.connections[conn.fd] = conn
        row = self.ctx.row
        row.connections(len(self.connections))
        row.add(Word.ACCEPTED)
        if self.draining:
            conn.deadline = min(conn.deadline, self._grace_end)
        if conn.state == PROXY:
            self.read_proxy_header(conn, now)
        else:
            self.readable(conn, now)
        return True

    def close(self, conn: Connection, *, reset: bool = False) -> None:
        """Close a connection and forget it."""
        if conn.state == CLOSED:
            return
        conn.state = CLOSED  # at once: at the end the loop and a thread may both come to close it
        self.connections.pop(conn.fd, None)
        if conn.mask:
            # Not left to close(2): a child the application forked may hold the socket, too, and epoll would
            # go on reporting it (epoll(7), question 6). At the end a thread may be about to register it.
            with contextlib.suppress(FileNotFoundError):
                self.poller.unregister(conn.fd)
            conn.mask = 0
        conn.close(reset=reset)
        self.ctx.row.connections(len(self.connections))
        if not self.acceptor.watching:
            self.freed()

    def freed(self) -> None:
        """There may be room again; called in the loop's thread."""
        self._make_room()

    def _make_room(self) -> None:
        if not self.acceptor.watching and self.room() > 0:
            self.acceptor.resume()

    # -- time

    def sweep_by(self, deadline: float, now: float) -> None:
        """A deadline nearer than the usual ones was set."""
        if deadline < self._next_sweep:
            self._next_sweep = deadline
            self._timeout = min(self._timeout, deadline - now)

    def _sweep(self, now: float) -> None:
        """Act on every deadline that has passed; find the next time when one can."""
        nearest = now + (DRAIN_GRACE if self.draining else self.times.shortest)
        for conn in list(self.connections.values()):
            if conn.state == WAITING and conn.http.mid_head:
                # It came in one piece with the end of the request before, where nobody looks for it.
                conn.state = HEAD
                conn.deadline = now + self.times.header
            deadline = conn.deadline
            if deadline <= now:
                self.expired(conn)
            elif deadline < nearest:
                nearest = deadline
        self._next_sweep = max(now + 1.0, nearest) if self.connections else FOREVER
        self._set_timeout(now)

    # -- stopping

    def _obey(self, now: float) -> None:
        stop = self.ctx.orders.read()
        if stop is Stop.DRAIN and not self.draining:
            self._drain(now)
        elif stop is Stop.QUIT:
            self.acceptor.close()

    def _drain(self, now: float) -> None:
        self.draining = True
        self.update_closing(now)
        self.ctx.row.set_state(State.DRAINING)
        self.ctx.enter(DRAINING)
        self._grace_end = now + DRAIN_GRACE
        self._keepalive = min(self._keepalive, DRAIN_GRACE)
        for conn in list(self.connections.values()):
            if conn.state == SERVING:
                if not conn.http.head_sent:  # else the client knows nothing of it and may send another one
                    conn.http.keep_alive = False
            elif conn.state == WAITING or (conn.state == HEAD and not conn.http.mid_head):
                conn.deadline = min(conn.deadline, self._grace_end)
        self._next_sweep = self._grace_end
        self._next_tick = now
        self._timeout = 0.0
        room = max(0, self.bound - len(self.connections))
        self.acceptor.drain(room if self.ctx.orders.last else 0)

    def _done(self) -> bool:
        orders = self.ctx.orders
        if not self.draining:
            return orders.stop is Stop.QUIT
        if orders.stop is Stop.QUIT or not self.connections:
            return True
        return time.monotonic() >= orders.deadline

    def _cut(self) -> None:
        """End what is still there, one record for each request."""
        self.over = True
        self.acceptor.close()
        why = (
            "the worker was told to quit"
            if self.ctx.orders.stop is Stop.QUIT
            else "graceful_timeout was over"
        )
        for conn in list(self.connections.values()):
            if conn.state in (SERVING, BODY, FLUSHING, DEFERRED):
                self.log_cut(conn, why)
            if conn.state != SERVING:  # its thread may be writing, and closes it, or the exit does
                self.close(conn)

    def release(self) -> None:
        """Give the loop's own descriptors back."""
        self.waker.close()
        self.poller.close()
