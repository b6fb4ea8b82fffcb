"""The connection of a WebSocket in an asgi worker: from the upgrade request to the last byte.

Neighbours: `asgi_protocol` hands a request over to `upgrade`; `protocols.websocket` judges handshake and
frames; `gateways.asgi_websocket` is the application's side. Its one rule: every end has a close code on the
wire, unless the peer is past hearing it, and no end waits longer than `websocket_close_timeout`.

Until the application accepts, the connection is still HTTP's: what the client sends is held, and a refusal
is an ordinary answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Final, Protocol

from arbiter.errors import ResponseError
from arbiter.gateways.asgi_scope import RootPath, set_origin, websocket_scope
from arbiter.gateways.asgi_websocket import CLOSED, CONNECTING, DENYING, OPEN, WebSocketCycle
from arbiter.link.scoreboard import Word
from arbiter.observe.trace import about
from arbiter.protocols.events import Request
from arbiter.protocols.http1.connection import Http1Connection
from arbiter.protocols.peer.forwarded import Origin
from arbiter.protocols.websocket.handshake import (
    Offer,
    Refused,
    acceptance,
    agree_on_compression,
    read_offer,
    wants_websocket,
)
from arbiter.protocols.websocket.session import ABNORMAL, Ended, Session
from arbiter.workers.asgi_connection import AsgiConnection
from arbiter.workers.asgi_service import NEVER, SECOND, Service

HIGH_WATER: Final = 65536
"""Bytes of messages held for an application that does not take them; past it reading pauses."""
HANDSHAKE_SECONDS: Final = 30.0
"""How long an application may think before it accepts or refuses; then the client gets a 503."""

_NORMAL, _RESTART, _INTERNAL = 1000, 1012, 1011
_STARLETTES: Final = "WebSocketDisconnect"


class HttpSide(Protocol):
    """The HTTP connection that hands over."""

    service: Service
    transport: asyncio.Transport
    http: Http1Connection
    base: dict[str, Any]
    closing: bool
    reading: bool
    read_deadline: int

    def close(self) -> None: ...

    def write(self, data: bytes) -> None: ...


def upgrade(side: HttpSide, request: Request, root: RootPath, origin: Origin | None, now: int) -> bool:
    """Take a request over if it asks for a WebSocket; False leaves it to HTTP, which ignores its Upgrade."""
    if not wants_websocket(request):
        return False
    service = side.service
    lane = service.row.begin(request.method, request.target, now)
    try:
        offer = read_offer(request)
        compression = agree_on_compression(offer) if service.websocket.compression else ("", None)
    except Refused as refused:
        _refuse(side, request, refused, now, lane)
        return True
    scope = websocket_scope(side.base, request, root, service.state, offer.subprotocols)
    if origin is not None:
        set_origin(scope, origin._replace(scheme="wss" if origin.scheme == "https" else "ws"))
    connection = WebSocketConnection(side, request, scope, offer, compression, now)
    connection.lane = lane
    side.transport.set_protocol(connection)
    side.closing = True
    service.replace(side, connection)  # type: ignore[arg-type]
    connection.start()
    return True


def _refuse(side: HttpSide, request: Request, refused: Refused, now: int, lane: int) -> None:
    """A handshake that cannot be: an ordinary answer, and the end of the connection."""
    service = side.service
    text = b"%d %b\n" % (refused.status, refused.reason.encode("ascii", "replace"))
    side.http.keep_alive = False
    side.http.respond(refused.status, [(b"content-type", b"text/plain; charset=utf-8"), *refused.headers])
    side.write(side.http.body(text, False))
    service.row.end(refused.status, now, time.monotonic_ns(), len(text), lane)
    service.row.add(Word.BAD_REQUESTS)
    if service.access is not None:
        service.write_access(request, side.base, refused.status, len(text), now, time.monotonic_ns())
    side.close()


class WebSocketConnection(AsgiConnection):
    """One WebSocket; also the `SocketWire` of its cycle."""

    __slots__ = (
        "_agreed",
        "_extension",
        "_heard",
        "_http",
        "_offer",
        "_opened",
        "_pinged",
        "_request",
        "_sent",
        "_started_ns",
        "_status",
        "cycle",
        "lane",
        "session",
    )

    def __init__(
        self,
        side: HttpSide,
        request: Request,
        scope: dict[str, Any],
        offer: Offer,
        compression: tuple[str, Any],
        now: int,
    ) -> None:
        super().__init__(side.service)
        self.transport = side.transport
        self.write = side.transport.write
        self.reading = side.reading
        self.cycle = WebSocketCycle(self, scope)
        self.session: Session | None = None
        self.read_deadline = now + int(HANDSHAKE_SECONDS * SECOND)
        self._http = side.http
        self._request = request
        self._offer = offer
        self._agreed, self._extension = compression
        self._started_ns = now
        self._status = 0
        self._opened = False
        self._sent = 0
        self._heard = self._pinged = False
        self.lane = -1

    def start(self) -> None:
        """Call the application."""
        service = self.service
        service.running.add(self.cycle)
        self.cycle.task = service.start(self.cycle.run(service.app))

    # ------------------------------------------------------------------ asyncio's calls

    def data_received(self, data: bytes) -> None:
        session = self.session
        if session is not None and not self.closing:
            self._heard = True
            self._take(session, data)
        elif self.closing:
            self.discard(data)
        else:  # a client that does not wait for the 101
            self._http.receive(data)
            if not self._http.wants_read:
                self.pause()

    def eof_received(self) -> bool:
        self.reading = False
        self._gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost()
        self._gone()
        if self._opened:
            self._opened = False
            self.service.row.add(Word.WEBSOCKETS, -1)
            self._log_access()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.pause()  # a peer that reads nothing must not make us queue pongs without end

    def resume_writing(self) -> None:
        super().resume_writing()
        self.messages_taken()

    # ------------------------------------------------------------------ in

    def _take(self, session: Session, data: bytes) -> None:
        cycle = self.cycle
        for event in session.receive(data):
            if type(event) is Ended:
                self._ended(session, event)
                return
            cycle.feed(event)  # type: ignore[arg-type]
        out = session.pending()
        if out:
            self.write(out)
        if cycle.held > HIGH_WATER:
            self.pause()

    def _ended(self, session: Session, end: Ended) -> None:
        self.cycle.end(end.code, end.reason)
        out = session.pending()
        if out and not self.transport.is_closing():
            self.write(out)
        if end.failed:
            self.close_lingering()
        else:
            self.finish()

    def finish(self) -> None:
        """Close the TCP connection, server first (RFC 6455 7.1.1)."""
        super().close()

    def _gone(self) -> None:
        """The peer is gone without a word."""
        if self.cycle.stage in (CONNECTING, DENYING) and not self._status:
            self._account(0)
        self.cycle.end(ABNORMAL, "")

    def messages_taken(self) -> None:
        """The application took what was held: read on (SocketWire)."""
        if not self.reading and not self.closing and not self.write_paused and self.cycle.held <= HIGH_WATER:
            self.resume()

    # ------------------------------------------------------------------ out (SocketWire)

    def accept(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Answer 101 and switch protocols."""
        service = self.service
        head = acceptance(self._offer, subprotocol, self._agreed, headers, service.defaults.lines)
        self.session = Session(service.websocket.max_message_size, self._extension)
        self._extension = None
        self._account(101)
        self._opened = True
        service.row.add(Word.WEBSOCKETS)
        self.write(head)
        self._schedule_ping()
        early = self._http.detach()
        if early or not self.reading:
            service.loop.call_soon(self._read_early, early)
        if service.draining:
            service.loop.call_soon(self.drain, time.monotonic_ns())

    def _read_early(self, early: bytes) -> None:
        self.messages_taken()
        if early and not self.closing:
            self.data_received(early)

    def deny(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Answer with HTTP instead."""
        self._http.keep_alive = False
        self._http.respond(status, headers)
        self._status = status

    def deny_body(self, data: bytes, more: bool) -> None:
        """A part of that answer."""
        out = self._http.body(data, more)
        self._sent += len(data)
        if out:
            self.write(out)
        if not more:
            self._account(self._status)
            self._log_access()
            self.finish()

    def send_text(self, text: str) -> None:
        try:
            self._send(text.encode(), text=True)
        except UnicodeEncodeError as error:
            raise ResponseError(f"websocket.send: `text` cannot be encoded: {error.reason}") from None

    def send_bytes(self, data: bytes) -> None:
        self._send(data, text=False)

    def _send(self, payload: bytes, *, text: bool) -> None:
        assert self.session is not None
        self._sent += len(payload)
        self.write(self.session.send(payload, text=text))

    def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """Begin the closing handshake; the peer has `websocket_close_timeout` to answer."""
        session = self.session
        if session is None or self.closing:
            return
        out = session.close(code, reason)
        if out:
            self.write(out)
        self.read_deadline = time.monotonic_ns() + int(self.service.websocket.close_timeout * SECOND)
        self.resume()

    def app_ended(self, cycle: WebSocketCycle, error: BaseException | None) -> None:
        """The application raised or returned."""
        service = self.service
        try:
            if cycle.stage in (CONNECTING, DENYING):
                self._ended_before_accept(cycle, error)
            elif cycle.stage == OPEN:
                if error is not None:
                    self._log_failure(error)
                self.close(_NORMAL if error is None else _INTERNAL, "")
                cycle.end(_NORMAL if error is None else _INTERNAL, "")
            elif error is not None and not self._expected(error):
                self._log_failure(error)
        finally:
            service.call_ended(cycle)

    def _ended_before_accept(self, cycle: WebSocketCycle, error: BaseException | None) -> None:
        status = 500
        if error is not None and not cycle.touched and _speaks_http_only(error):
            self._log_http_only(error)
            status = 403
        elif error is not None:
            if not self._expected(error):
                self._log_failure(error)
        else:
            self.service.log.error(
                "the application returned before it accepted the WebSocket: %s",
                cycle.scope["path"],
                event="websocket.failed",
            )
        if cycle.stage == DENYING and self._http.head_sent:
            self.abort("the application failed")
        else:
            self._answer(status)
        cycle.end(ABNORMAL, "")

    def _log_http_only(self, error: BaseException) -> None:
        """Scanners ask every site for WebSockets: one line, the first time."""
        service = self.service
        log = service.log.debug if service.http_only else service.log.info
        service.http_only = True
        text = "the application does not serve WebSockets (%r): refused with 403"
        log(text, error, event="websocket.unserved")

    def _expected(self, error: BaseException) -> bool:
        """After the end: an OSError of send(), Starlette's word for the same, which few applications catch,
        or a cancellation by the worker's own end.
        """
        if isinstance(error, asyncio.CancelledError):
            return self.service.cutting
        if isinstance(error, BaseExceptionGroup):
            return all(self._expected(inner) for inner in error.exceptions)
        gone = isinstance(error, OSError) or type(error).__name__ == _STARLETTES
        return gone and self.cycle.stage == CLOSED

    def _log_failure(self, error: BaseException) -> None:
        traceback = error.__traceback__
        if traceback is not None and traceback.tb_next is not None:
            error = error.with_traceback(traceback.tb_next)  # begin in the application
        client = self.cycle.scope.get("client")
        self.service.log.error(
            "exception in the application: WebSocket %s",
            self.cycle.scope["path"],
            exc_info=error,
            event="websocket.failed",
            fields=about(self._request, client[0] if client else None, self.service.request_ids),
        )

    def _answer(self, status: int) -> None:
        """An answer of the server's own, in place of the handshake."""
        if self.transport.is_closing():
            return
        out = self._http.error(status)
        self._account(status)
        self._log_access()
        if out:
            self.write(out)
        self.finish()

    # ------------------------------------------------------------------ book-keeping

    def _account(self, status: int) -> None:
        """The handshake is over: for the scoreboard it was a request, what follows is a WebSocket."""
        now = time.monotonic_ns()
        self._status = status
        self.service.row.end(status, self._started_ns, now, 0, self.lane)
        if self.service.observed:
            self.service.count_request()

    def _log_access(self) -> None:
        service = self.service
        if service.access is not None:
            service.write_access(
                self._request,
                self.cycle.scope,
                self._status,
                self._sent,
                self._started_ns,
                time.monotonic_ns(),
            )

    # ------------------------------------------------------------------ what the worker's clock and end ask

    def _schedule_ping(self) -> None:
        interval = self.service.websocket.ping_interval
        self.read_deadline = time.monotonic_ns() + int(interval * SECOND) if interval else NEVER

    def expire(self, now: int) -> None:
        """A deadline has come."""
        if self.write_deadline <= now and self.write_expired(now):
            return
        if self.read_deadline > now:
            return
        session = self.session
        if session is None:
            self._answer(503)
            self.cycle.end(ABNORMAL, "")
        elif self.closing or not session.open:
            self.abort("the closing handshake was not answered (websocket_close_timeout)")
            self.cycle.end(ABNORMAL, "")
        else:
            self._ping(session, now)

    def _ping(self, session: Session, now: int) -> None:
        """A silent peer is asked for a sign of life; any byte counts as one."""
        settings = self.service.websocket
        if self._pinged and not self._heard and self.reading:
            self.cycle.end(ABNORMAL, "keepalive ping timeout")
            self.close(_INTERNAL, "keepalive ping timeout")
            return
        if self._pinged or not self.reading:
            self._pinged = False
            self._schedule_ping()
            return
        self._pinged, self._heard = True, False
        self.write(session.ping(b""))
        timeout = settings.ping_timeout or settings.ping_interval
        self._pinged = bool(settings.ping_timeout)
        self.read_deadline = now + int(timeout * SECOND)

    def drain(self, now: int) -> None:
        """The worker drains: 1012 "service restart", and a moment for the peer to answer."""
        if self.session is not None and self.session.open:
            self.close(_RESTART, "the server restarts")
            self.cycle.end(_RESTART, "the server restarts")

    def warn(self) -> None:
        """The end is near; `drain` has said so already."""

    def cut(self, reason: str) -> None:
        """The worker's time is up."""
        if self.session is None:
            self._answer(503)
        else:
            self.abort(reason)
        self.cycle.end(ABNORMAL, "")


def _speaks_http_only(error: BaseException) -> bool:
    """How applications refuse the scope type "websocket" at once: Django's ValueError names it, an assert
    does not.
    """
    if isinstance(error, AssertionError) and not str(error):
        return True
    return (
        isinstance(error, (ValueError, AssertionError, NotImplementedError))
        and "websocket" in str(error).lower()
    )
