"""The worker without an event loop: one thread that accepts, reads requests, and minds the clock.

Neighbours: `dispatch.turns` and `dispatch.pool` are a `Core` each and say how a complete request reaches
the application; `accept` decides what is accepted, `exchange` how a request is answered, `connection` holds
what is known of a client. Its one rule: the loop never waits for a peer: requests are read here until
complete, what a socket does not take is flushed here, and whoever is too slow meets a deadline.

Deadlines are numbers in the connections, written as a connection changes its state and read by a sweep that
runs when the nearest one may be due, at most once a second: nothing is kept in order on the way of a
request.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable
from email.utils import formatdate
from io import BytesIO
from typing import IO, Any, Final

from arbiter.errors import ExitStatus, PeerGone
from arbiter.gateways.wsgi_input import Body, pulled_input
from arbiter.link.scoreboard import State, Word
from arbiter.protocols.events import BadRequest, Data, EndOfBody, Event, Gone, Request
from arbiter.protocols.peer.proxy_protocol import ProxyError
from arbiter.workers.accept import Acceptor
from arbiter.workers.connection import (
    BODY,
    CLOSED,
    DEFERRED,
    FLUSHING,
    FOREVER,
    HEAD,
    LINGERING,
    PROXY,
    RECEIVE,
    SERVING,
    SKIPPING,
    WAITING,
    Connection,
)
from arbiter.workers.context import WorkerContext
from arbiter.workers.exchange import Exchanges
from arbiter.workers.limits import DRAIN_GRACE, LINGER_BYTES, LINGER_SECONDS
from arbiter.workers.loop import EXCLUSIVE, FAILED, READ, WRITE, Waker, new_poller
from arbiter.workers.orders import Stop

EVENTS: Final = 256
"""Most events taken from one poll."""
FAIR: Final = 16
"""Pipelined requests of one connection that are served before the others have their turn."""
DRAIN_TICK: Final = 0.1
"""Seconds between two looks at the clock while draining."""
BEAT: Final = 5.0
"""Seconds an idle worker sleeps at most: its sign of life on the scoreboard."""


class Core(Exchanges):
    """The loop; `serve` and `watch_connection` are a dispatcher's own."""

    def __init__(self, ctx: WorkerContext, *, multithread: bool) -> None:
        super().__init__(ctx, multithread=multithread)
        self.poller = new_poller()
        self.waker = Waker()
        self.connections: dict[int, Connection] = {}
        self.bound = ctx.config.worker_connections
        self.acceptor = Acceptor(ctx.listeners, self, self.adopt, self.room, ctx.log)
        self._listeners: dict[int, socket.socket] = {}
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._next_tick = 0.0
        self._next_sweep = FOREVER
        self._timeout = 0.0
        self._grace_end = FOREVER
        self._deferred: list[tuple[Connection, list[Event]]] = []
        self.over = False
        """The loop has ended; whoever still has a connection closes it."""
        self._body_spool = ctx.config.body_spool

    # -- what a dispatcher adds

    def serve(self, conn: Connection, request: Request, stream: Any, length: int) -> list[Event] | None:
        """Have a complete request answered; the next events of the connection, None when it is not ours
        now.
        """
        raise NotImplementedError

    def watch_connection(self, conn: Connection, mask: int) -> None:
        """Have the poller watch a connection for `mask`; the loop owns it from now on."""
        raise NotImplementedError

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
        self.acceptor.start()
        self.ctx.ready()
        if orders.read() is not Stop.NO:
            self._obey(time.monotonic())
        try:
            while not self._done():
                self._turn()
        finally:
            self._cut()
            self.release()
        return ExitStatus.OK

    def _turn(self) -> None:
        """Sleep, then act on everything that has happened."""
        events = self.poller.poll(0.0 if self._deferred else self._timeout, EVENTS)
        now = time.monotonic()
        if now >= self._next_tick:
            self.tick(now)
        connections = self.connections
        others: list[int] | None = None
        for fd, mask in events:
            conn = connections.get(fd)
            if conn is not None:
                if conn.state <= BODY:
                    self.readable(conn, now)
                else:
                    self._other_event(conn, mask, now)
            elif others is None:
                others = [fd]
            else:
                others.append(fd)
        if others is not None:
            for fd in others:
                self._happened(fd, now)
        if self._deferred:
            self._deferred, deferred = [], self._deferred
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
        self.defaults.refresh(formatdate(usegmt=True).encode("ascii"))
        self.ctx.row.beat(time.monotonic_ns())
        self.update_closing(now)
        due = [call for at, call in self._timers if at <= now]
        if due:
            self._timers = [timer for timer in self._timers if timer[0] > now]
            for call in due:
                call()
        self._set_timeout(now)

    # -- accepting

    def watch(self, listener: socket.socket) -> None:
        """As `accept.ListenerWatch`."""
        self._listeners[listener.fileno()] = listener
        self.poller.register(listener.fileno(), READ | EXCLUSIVE)

    def unwatch(self, listener: socket.socket) -> None:
        """As `accept.ListenerWatch`."""
        del self._listeners[listener.fileno()]
        self.poller.unregister(listener.fileno())

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
        self.connections.pop(conn.fd, None)
        if conn.mask:
            # Not left to close(2): a child the application forked may hold the socket, too, and epoll would
            # go on reporting it (epoll(7), question 6).
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

    # -- reading

    def readable(self, conn: Connection, now: float) -> None:
        """Read what has come and act on it."""
        try:
            data = conn.recv(RECEIVE)
        except BlockingIOError:
            self.watch_connection(conn, READ)
            return
        except OSError:
            self.close(conn)
            return
        if not data:
            self.process(conn, conn.http.receive_eof() or [Gone(False)], now)
            return
        events: list[Event] | None = conn.http.receive(data)
        if not events:
            self._await_more(conn, len(data), now)
            return
        event = events[0]
        if type(event) is Request and event.ended:
            # What `process` does, without its generality: nearly every request comes this way.
            events = self.serve(conn, event, BytesIO(), -1)
            if not events:
                if events is not None and conn.mask != READ:
                    self.watch_connection(conn, READ)
                return
        self.process(conn, events, now)

    def process(self, conn: Connection, events: list[Event] | None, now: float) -> None:
        """Act on what a connection says until it has no more to say for now, or has said much at once."""
        turns = FAIR
        while events:
            if not turns:
                conn.state = DEFERRED
                conn.deadline = FOREVER
                self._deferred.append((conn, events))
                return
            turns -= 1
            event = events[0]
            if type(event) is Request and event.ended:
                events = self.serve(conn, event, BytesIO(), -1)
            else:
                events = self._digest(conn, events, now)
        if events is not None:
            self.watch_connection(conn, READ)

    def _await_more(self, conn: Connection, size: int, now: float) -> None:
        """What has come was a part of something; the deadline is the one of that."""
        if conn.state == BODY:
            conn.received += size
            conn.deadline = self.times.body_deadline(conn.began, now, conn.received)
        elif conn.state == WAITING and conn.http.mid_head:
            conn.state = HEAD
            conn.deadline = now + self.times.header
        self.watch_connection(conn, READ)

    def _digest(self, conn: Connection, events: list[Event], now: float) -> list[Event] | None:
        """All but a request without a body; [] when more has to come."""
        for event in events:
            if isinstance(event, Data):
                if conn.body is not None and not self._keep(conn, conn.body, event.data, now):
                    return None
            elif isinstance(event, EndOfBody):
                if conn.state == SKIPPING:
                    return self.answered(conn, now)
                return self._serve_with_body(conn)
            elif isinstance(event, Request):
                if event.expect_continue and conn.http.continue_pending and not event.chunked:
                    conn.lingers = True
                    return self.serve(conn, event, pulled_input(conn.pull), -1)
                if not self._begin_body(conn, event, now):
                    return None
            elif isinstance(event, BadRequest):
                self.refuse(conn, event)
                return None
            else:
                self.close(conn)
                return None
        return []

    def _begin_body(self, conn: Connection, request: Request, now: float) -> bool:
        conn.request = request
        conn.state = BODY
        conn.began = now
        conn.received = 0
        conn.body = Body(self._body_spool, self._new_body_file)
        if conn.http.continue_pending:
            # A chunked body's size has to be known before a WSGI application may be called (CONTENT_LENGTH is
            # all that Django reads), so the loop itself asks for it.
            try:
                conn.write(conn.http.interim(100, ()))
            except PeerGone:
                self.close(conn)
                return False
        return True

    def _keep(self, conn: Connection, body: Body, data: bytes, now: float) -> bool:
        conn.received += len(data)
        conn.deadline = self.times.body_deadline(conn.began, now, conn.received)
        try:
            body.add(data)
        except OSError as error:
            self._cannot_keep(conn, error)
            return False
        return True

    def _serve_with_body(self, conn: Connection) -> list[Event] | None:
        request, body = conn.request, conn.body
        assert request is not None and body is not None
        try:
            stream = body.open()
        except OSError as error:
            self._cannot_keep(conn, error)
            return None
        return self.serve(conn, request, stream, body.size if request.chunked else -1)

    def _cannot_keep(self, conn: Connection, error: OSError) -> None:
        where = self.terms.spool_directory or tempfile.gettempdir()
        self.ctx.log.error(
            "cannot keep a request body of more than %d bytes in %s: %s. Free some space, or set "
            "tmp_upload_dir to a directory that has it.",
            self._body_spool,
            where,
            error.strerror or error,
        )
        self.answer_and_linger(conn, conn.http.error(500))

    def _new_body_file(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self.terms.spool_directory, prefix="arbiter-")

    # -- the other states

    def _other_event(self, conn: Connection, mask: int, now: float) -> None:
        state = conn.state
        if state == FLUSHING:
            self._flush(conn, now)
        elif state == SKIPPING:
            self.readable(conn, now)
        elif state == PROXY:
            self.read_proxy_header(conn, now)
        elif state == LINGERING:
            self._linger(conn)
        elif mask & FAILED and state != SERVING:
            self.close(conn)

    def _flush(self, conn: Connection, now: float) -> None:
        outbox = conn.outbox
        if outbox is not None:
            try:
                sent = outbox.flush(conn.sock)
            except (OSError, EOFError) as error:
                self.log_cut(conn, str(error))
                self.close(conn, reset=True)
                return
            if sent:
                conn.deadline = now + self.times.send
            if outbox:
                self.watch_connection(conn, WRITE)
                return
            conn.outbox = None
        self.process(conn, self.answered(conn, now), now)

    def flush_later(self, conn: Connection, now: float) -> None:
        """The answer is complete but not yet out: the loop sends the rest at the peer's pace."""
        conn.state = FLUSHING
        conn.deadline = now + self.times.send
        self.watch_connection(conn, WRITE)

    def refuse(self, conn: Connection, fault: BadRequest) -> None:
        """The peer broke the protocol: say so, and leave it the time to read that."""
        self.ctx.row.add(Word.BAD_REQUESTS)
        self.ctx.log.debug(
            "refused a request from %s with %d: %s %s",
            conn.peer or "unix",
            fault.status,
            fault.reason,
            fault.detail,
        )
        self.answer_and_linger(conn, conn.http.refuse(fault))

    def answer_and_linger(self, conn: Connection, wire: bytes) -> None:
        """Send the server's own last words, then close as RFC 9112 9.6 advises: half first, the rest in a
        moment.
        """
        conn.lingers = True
        if conn.body is not None:
            conn.body.close()
            conn.body = None
        try:
            if wire:
                conn.write(wire)
        except PeerGone:
            self.close(conn)
            return
        if conn.outbox is not None:
            self.flush_later(conn, time.monotonic())  # `answered` comes back here
            return
        self.linger(conn)

    def linger(self, conn: Connection) -> None:
        """Close our half; read and throw away what is on its way, so that no reset destroys the answer."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close(conn)
            return
        conn.state = LINGERING
        conn.received = 0
        conn.deadline = time.monotonic() + LINGER_SECONDS
        self.sweep_by(conn.deadline, conn.deadline - LINGER_SECONDS)
        self._linger(conn)

    def _linger(self, conn: Connection) -> None:
        try:
            while conn.received < LINGER_BYTES:
                data = conn.recv(RECEIVE)
                if not data:
                    break
                conn.received += len(data)
        except BlockingIOError:
            self.watch_connection(conn, READ)
            return
        except OSError:
            pass
        self.close(conn)

    # -- the PROXY protocol

    def read_proxy_header(self, conn: Connection, now: float) -> None:
        """The connection begins with a header of the PROXY protocol, which says who is behind it."""
        try:
            data = conn.recv(RECEIVE)
            header = conn.proxy.feed(data) if data else None
        except BlockingIOError:
            self.watch_connection(conn, READ)
            return
        except (OSError, ProxyError) as error:
            self.ctx.log.info("closed a connection from %s: %s", conn.peer or "unix socket", error)
            self.ctx.row.add(Word.BAD_REQUESTS)
            self.close(conn)
            return
        if header is None:
            if data:
                self.watch_connection(conn, READ)
            else:
                self.close(conn)
            return
        self.set_ends(conn, header)
        if header.rest:
            self.process(conn, conn.http.receive(header.rest), now)
        else:
            self.watch_connection(conn, READ)

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
                self._expired(conn)
            elif deadline < nearest:
                nearest = deadline
        self._next_sweep = max(now + 1.0, nearest) if self.connections else FOREVER
        self._set_timeout(now)

    def _expired(self, conn: Connection) -> None:
        state = conn.state
        if state == BODY or (state == HEAD and conn.http.mid_head):
            self.answer_and_linger(conn, conn.http.error(408))
        elif state == FLUSHING:
            self.log_cut(conn, f"the client took nothing of its answer for {self.times.send:g} s")
            self.close(conn, reset=True)
        elif state != SERVING:
            self.close(conn)

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
