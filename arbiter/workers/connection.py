"""One client's TCP or unix-socket connection in a worker that has no event loop.

Neighbours: `core` drives it, the gateway writes the answer through it (it is the gateway's `Channel`),
`outbox` keeps what the socket does not take. Its one rule: a connection has one owner at a time, the loop
or the thread that runs the application for it (`state` SERVING); only the owner touches it.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any, Final

from arbiter.errors import PeerGone
from arbiter.gateways.wsgi import Call
from arbiter.gateways.wsgi_environ import Environ
from arbiter.gateways.wsgi_input import Body, BodyBroken
from arbiter.link.scoreboard import NO_LANE, Row
from arbiter.protocols.events import BadRequest, Data, EndOfBody, Event, Gone, Request
from arbiter.protocols.http1.connection import Http1Connection
from arbiter.workers.limits import TimeLimits
from arbiter.workers.outbox import FilePart, Outbox, part_of
from arbiter.workers.unsent import queued

RECEIVE: Final = 65536
"""Bytes asked of the socket at once."""

WAITING: Final = 0  # between requests; nothing has come
HEAD: Final = 1  # in a head, or new
BODY: Final = 2
SERVING: Final = 3  # the application has it
FLUSHING: Final = 4  # answered; the outbox is on its way
SKIPPING: Final = 5  # answered; the rest of the request's body is read and thrown away
LINGERING: Final = 6  # refused; the peer is given a moment to read why
PROXY: Final = 7  # the PROXY protocol's header is expected
DEFERRED: Final = 8  # a pipelined request that waits until the other connections had their turn
CLOSED: Final = 9

FOREVER: Final = float("inf")
SLICE: Final = 0.25
"""Seconds after which a request is given the time for which its client has kept the application waiting."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Terms:
    """What all connections of a worker have in common."""

    times: TimeLimits
    spool_directory: str | None
    sendfile: bool
    row: Row


class Connection:
    """A socket, its HTTP state, and what is known of its peer."""

    __slots__ = (
        "began",
        "body",
        "deadline",
        "fd",
        "http",
        "lane",
        "late",
        "lingers",
        "mask",
        "outbox",
        "peer",
        "proxy",
        "pulled",
        "received",
        "recv",
        "request",
        "send",
        "sock",
        "started_ns",
        "state",
        "template",
        "terms",
        "trusted",
        "unsent",
    )

    def __init__(self, sock: socket.socket, http: Http1Connection, terms: Terms, deadline: float) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.http = http
        self.terms = terms
        self.recv = sock.recv
        self.send = sock.send
        self.state = HEAD
        self.deadline = deadline
        """When, on the monotonic clock, the loop has to act on it; never while it is SERVING."""
        self.mask = 0
        """What the poller watches it for; 0 before it was registered."""
        self.outbox: Outbox | None = None
        self.template: Environ = {}
        self.peer: str | None = None
        """The address of the other end, None on a unix socket."""
        self.trusted = False
        """What the other end says of its clients counts."""
        self.proxy: Any = None
        self.request: Request | None = None
        self.body: Body | None = None
        self.began = 0.0
        self.received = 0
        """When the current body began and how many bytes of it came."""
        self.started_ns = 0
        self.lane = NO_LANE
        """Of the request in work: when it began, and its lane in the scoreboard."""
        self.late: tuple[Environ, Call] | None = None
        """Of the answer that is on its way, if it is still to be logged."""
        self.lingers = False
        """The peer may still be sending when the connection closes: do it in two steps."""
        self.pulled: _Pull | None = None
        self.unsent = 0
        """What the peer had not taken when its time for taking something began."""

    # -- the gateway's channel

    def write(self, data: bytes) -> None:
        """Send; what the socket does not take at once is kept, and only past the outbox's bounds waited for.

        Raises `PeerGone` when the connection is broken or the peer took nothing for `send_timeout`.
        """
        outbox = self.outbox
        if outbox is None:
            send = self.send
            try:
                sent = send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise self.lost(error, len(data)) from None
            if sent == len(data):
                return
            outbox = self.outbox = Outbox(self.terms.spool_directory)
            data = data[sent:]
        outbox.add(data)
        self._push(outbox)

    def writelines(self, pieces: list[bytes]) -> None:
        """As `write`, for several pieces at once, by one gathering system call."""
        outbox, sent = self.outbox, 0
        if outbox is None:
            size = sum(map(len, pieces))
            try:
                sent = self.sock.sendmsg(pieces)
            except BlockingIOError:
                pass
            except OSError as error:
                raise self.lost(error, size) from None
            if sent == size:
                return
            outbox = self.outbox = Outbox(self.terms.spool_directory)
        for piece in pieces:
            if sent < len(piece):
                outbox.add(memoryview(piece)[sent:] if sent else piece)
            sent = max(0, sent - len(piece))
        self._push(outbox)

    def file_part(self, file: Any) -> FilePart | None:
        """As the gateway's `Channel.file_part`."""
        return part_of(file, self.terms.sendfile)

    def write_file(self, head: bytes, part: Any) -> None:
        """As `write`: a head and a stretch of a file, which goes out at the peer's pace without a thread."""
        if head:
            try:
                # MSG_MORE: head and beginning of the file share their first packet (Linux).
                sent = 0 if self.outbox else self.sock.send(head, getattr(socket, "MSG_MORE", 0))
            except BlockingIOError:
                sent = 0
            except OSError as error:
                unsent = len(head) + part.left
                part.close()
                raise self.lost(error, unsent) from None
            head = head[sent:]
        if self.outbox is None:
            self.outbox = Outbox(self.terms.spool_directory)
        if head:
            self.outbox.add(head)
        self.outbox.add_file(part)
        self._push(self.outbox)

    def _push(self, outbox: Outbox) -> None:
        try:
            outbox.flush(self.sock)
            while outbox.full:
                self._wait(select.POLLOUT, self.terms.times.send, "the client took nothing of its answer")
                outbox.flush(self.sock)
        except EOFError as error:
            raise PeerGone(str(error), outbox.left) from None
        except PeerGone as gone:
            gone.unsent = outbox.left
            raise
        except OSError as error:
            raise self.lost(error, outbox.left) from None
        if not outbox:
            self.outbox = None

    def _wait(self, mask: int, seconds: float, what: str) -> None:
        """Sleep until the socket is ready; `PeerGone` after so many seconds, unless room is waited for and
        the peer has taken something meanwhile.

        It is the client that takes this time, not the application: the request is not late for it.
        """
        poll = select.poll()
        poll.register(self.fd, mask)
        began = now = time.monotonic_ns()
        self.unsent = queued(self.fd)
        while True:
            left = seconds - (now - began) * 1e-9
            ready = poll.poll(max(0.0, min(left, SLICE)) * 1000)
            before, now = now, time.monotonic_ns()
            self.terms.row.extend(self.lane, self.started_ns, now - before)
            if ready:
                return
            if left > SLICE:
                continue
            if mask == select.POLLOUT and self.progressed():
                began = now
            else:
                raise PeerGone(f"{what} for {seconds:g} s")

    def progressed(self) -> bool:
        """Whether the peer has taken something since it was last looked at."""
        before, self.unsent = self.unsent, queued(self.fd)
        return self.unsent < before

    @staticmethod
    def lost(error: OSError, unsent: int = 0) -> PeerGone:
        """What an error of the socket means."""
        return PeerGone(f"the client is gone: {error.strerror or error}", unsent)

    # -- a body that is fetched while the application reads

    def pull(self) -> bytes:
        """Return the next part of the request body, b"" at its end; asks the client for it (100) at first.

        Raises `BodyBroken` when the rest will not come.
        """
        if self.pulled is None:
            self.pulled = _Pull(self)
        return self.pulled.next()

    # -- the end

    def close(self, *, reset: bool = False) -> None:
        """Close the socket and give everything back. reset: so that the peer sees a break, not an end."""
        self.state = CLOSED
        self.deadline = FOREVER
        if self.outbox is not None:
            self.outbox.close()
            self.outbox = None
        if self.body is not None:
            self.body.close()
            self.body = None
        if reset:
            try:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            except OSError:
                pass  # not TCP, or gone already
        self.sock.close()

    def __repr__(self) -> str:
        return f"<Connection fd={self.fd} peer={self.peer or 'unix'} state={self.state}>"


class _Pull:
    """The reading of one request body at the application's pace, by the thread that runs the application."""

    __slots__ = ("_began", "_conn", "_events", "_invited", "_received", "broken", "over")

    def __init__(self, conn: Connection) -> None:
        self.over = False
        self.broken: BodyBroken | None = None
        self._conn = conn
        self._events: list[Event] = []
        self._invited = False
        self._began = 0.0
        self._received = 0

    def next(self) -> bytes:
        if not self._invited:
            self._invite()
        while not self.over:
            if self.broken is not None:
                raise self.broken
            while self._events:
                event = self._events.pop(0)
                if isinstance(event, Data):
                    return event.data
                self._end(event)
            if not self.over and self.broken is None:
                self._events = self._receive()
        return b""

    def _invite(self) -> None:
        http = self._conn.http
        self._invited = True
        self._began = time.monotonic()
        if http.continue_pending:
            self._conn.write(http.interim(100, ()))
        elif http.head_sent:
            # The client was told the outcome before it was asked for the body: nobody knows if it will come.
            self._break("the answer began before the body was read")

    def _receive(self) -> list[Event]:
        conn = self._conn
        times = conn.terms.times
        now = time.monotonic()
        left = times.body_deadline(self._began, now, self._received) - now
        try:
            conn._wait(select.POLLIN, left, "no request body came")
        except PeerGone as late:
            self._break(str(late), 408)
            return []
        try:
            data = conn.recv(RECEIVE)
        except BlockingIOError:
            return []
        except OSError as error:
            self._break(str(conn.lost(error)))
            return []
        self._received += len(data)
        return conn.http.receive(data) if data else conn.http.receive_eof()

    def _end(self, event: Event) -> None:
        if isinstance(event, EndOfBody):
            self.over = True
        elif isinstance(event, BadRequest):
            self._break(f"bad request body: {event.reason}", event.status)
        elif isinstance(event, Gone):
            self._break("the client ended its request body early")

    def _break(self, reason: str, status: int = 0) -> None:
        self._conn.http.keep_alive = False
        self.broken = BodyBroken(reason, status)
