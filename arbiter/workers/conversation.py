"""What a connection says, and the states it goes through until it has been answered.

Neighbours: inherits from `exchange` how one request is answered; `core` adds the loop, which calls
`readable` and `happened`. Its one rule: nothing here waits. What has come is acted on, what is missing gets
a deadline, and what the socket does not take is left to the poller.
"""

from __future__ import annotations

import socket
import tempfile
import time
from io import BytesIO
from typing import IO, Any, Final

from arbiter.errors import PeerGone
from arbiter.gateways.wsgi_input import Body, pulled_input
from arbiter.link.scoreboard import Word
from arbiter.protocols.events import BadRequest, Data, EndOfBody, Event, Gone, Request
from arbiter.protocols.peer.proxy_protocol import ProxyError
from arbiter.workers.connection import (
    BODY,
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
from arbiter.workers.limits import LINGER_BYTES, LINGER_SECONDS
from arbiter.workers.loop import FAILED, READ, WRITE
from arbiter.workers.unsent import queued

FAIR: Final = 16
"""Pipelined requests of one connection that are served before the others have their turn."""


class Conversations(Exchanges):
    """All connections of a worker; what to do with each when something happens on it."""

    def __init__(self, ctx: WorkerContext, *, multithread: bool) -> None:
        super().__init__(ctx, multithread=multithread)
        self.deferred: list[tuple[Connection, list[Event]]] = []
        """Pipelines that have had their turn; the loop calls `process` for them after the others."""
        self._body_spool = ctx.config.body_spool

    # -- what others add

    def serve(self, conn: Connection, request: Request, stream: Any, length: int) -> list[Event] | None:
        """Have a complete request answered; the next events of the connection, None when it is not ours
        now.
        """
        raise NotImplementedError

    def watch_connection(self, conn: Connection, mask: int) -> None:
        """Have the poller watch a connection for `mask`; the loop owns it from now on."""
        raise NotImplementedError

    def sweep_by(self, deadline: float, now: float) -> None:
        """A deadline nearer than the usual ones was set: see `core`."""
        raise NotImplementedError

    # -- reading

    def readable(self, conn: Connection, now: float) -> None:
        """Read what has come and act on it."""
        recv = conn.recv
        try:
            data = recv(RECEIVE)
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
        elif len(events) == 3 and type(events[2]) is EndOfBody:
            events = self._serve_at_once(conn, events)
        self.process(conn, events, now)

    def _serve_at_once(self, conn: Connection, events: list[Event]) -> list[Event] | None:
        """A request whose whole body came with its head: there is nothing to wait for and nothing to keep."""
        request, part, _ = events
        if type(request) is not Request or type(part) is not Data or len(part.data) > self._body_spool:
            return events
        return self.serve(conn, request, BytesIO(part.data), len(part.data) if request.chunked else -1)

    def process(self, conn: Connection, events: list[Event] | None, now: float) -> None:
        """Act on what a connection says until it has no more to say for now, or has said much at once."""
        turns = FAIR
        while events:
            if not turns:
                conn.state = DEFERRED
                conn.deadline = FOREVER
                self.deferred.append((conn, events))
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
                if conn.http.continue_pending and not event.chunked and self._may_wait():
                    conn.lingers = True
                    self._row.add(Word.FETCHING)
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

    def _may_wait(self) -> bool:
        """Whether an application may be called before its request's body has come.

        Who sends `Expect: 100-continue` is to be asked for the body only when the application reads it, which
        then waits for that client. Half of the hands are kept free of that: of this worker's threads, or,
        where each worker has one, of all workers. The bodies of those beyond are asked for here, and
        collected.
        """
        words = [self._row.words]
        hands = self.ctx.config.threads
        if not self._multithread:
            siblings = self.ctx.scoreboard.others(self._row.index) if self.ctx.scoreboard is not None else []
            words += siblings
            hands = len(words)
        return sum(row[Word.FETCHING] for row in words) < max(1, hands // 2)

    def _begin_body(self, conn: Connection, request: Request, now: float) -> bool:
        conn.request = request
        conn.state = BODY
        conn.began = now
        conn.received = 0
        conn.body = Body(self._body_spool, self._new_body_file)
        if conn.http.continue_pending:
            # Too many applications wait for a body already; or it is chunked, and its size has to be known
            # before a WSGI application may be called (CONTENT_LENGTH is all that Django reads).
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
            event="request.unkept",
        )
        self.answer_and_linger(conn, conn.http.error(500))

    def _new_body_file(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self.terms.spool_directory, prefix="arbiter-")

    # -- the other states

    def happened(self, conn: Connection, mask: int, now: float) -> None:
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
                self.log_cut(conn, str(conn.lost(error) if isinstance(error, OSError) else error))
                self.close(conn, reset=True)
                return
            if sent:
                self._await_room(conn, now)
            if outbox:
                self.watch_connection(conn, WRITE)
                return
            conn.outbox = None
        self.log_late(conn)
        self.process(conn, self.answered(conn, now), now)

    def flush_later(self, conn: Connection, now: float) -> None:
        """The answer is complete but not yet out: the loop sends the rest at the peer's pace."""
        conn.state = FLUSHING
        self._await_room(conn, now)
        self.watch_connection(conn, WRITE)

    def _await_room(self, conn: Connection, now: float) -> None:
        """From now on the peer must take something every `send_timeout`."""
        conn.unsent = queued(conn.fd)
        conn.deadline = now + self.times.send

    def refuse(self, conn: Connection, fault: BadRequest) -> None:
        """The peer broke the protocol: say so, and leave it the time to read that."""
        self.ctx.row.add(Word.BAD_REQUESTS)
        self.ctx.log.debug(
            "refused a request from %s with %d: %s %s",
            conn.peer or "unix",
            fault.status,
            fault.reason,
            fault.detail,
            event="request.refused",
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

    def expired(self, conn: Connection) -> None:
        state = conn.state
        if state == BODY or (state == HEAD and conn.http.mid_head):
            self.answer_and_linger(conn, conn.http.error(408))
        elif state == FLUSHING and conn.progressed():
            conn.deadline = time.monotonic() + self.times.send
        elif state == FLUSHING:
            self.log_cut(conn, f"the client took nothing of its answer for {self.times.send:g} s")
            self.close(conn, reset=True)
        elif state != SERVING:
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
            peer = conn.peer or "unix socket"
            self.ctx.log.info("closed a connection from %s: %s", peer, error, event="connection.refused")
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
