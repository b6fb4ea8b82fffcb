"""One HTTP/1.x connection of an asgi worker: the asyncio protocol between a transport and application calls.

Neighbours: `protocols.http1` parses and frames, `gateways.asgi_http` is the application's side of an
exchange, `asgi_service` holds what connections share, `asgi_websocket` takes over after an upgrade. Its one
rule: one exchange at a time, in the order of the wire; whatever ends it (the answer, the peer, a deadline,
the worker's end) passes through here and is accounted for exactly once.

A client that ends its sending side may only have half-closed (RFC 9112 9.6) or may be gone; TCP does not
say which. Its answer is sent either way; `receive` reports http.disconnect after `HALF_CLOSE_GRACE`, so
that long polls and streams do not go on for nobody, or at once where a unix socket's hang-up settles the
question.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from arbiter.errors import PeerGone
from arbiter.gateways.asgi_http import BODY, DONE, TRAILERS, HttpCycle
from arbiter.gateways.asgi_scope import RootPath, address, connection_base, http_scope, set_origin
from arbiter.link.scoreboard import Word
from arbiter.observe.trace import about
from arbiter.protocols.events import BadRequest, Data, EndOfBody, Event, Request
from arbiter.protocols.fields import Refusal
from arbiter.protocols.http1.connection import Http1Connection
from arbiter.workers.asgi_connection import AsgiConnection, hung_up
from arbiter.workers.asgi_service import NEVER, SECOND, Service
from arbiter.workers.asgi_websocket import upgrade
from arbiter.workers.limits import DRAIN_GRACE
from arbiter.workers.task_stacks import waiting_at

BODY_HIGH_WATER: Final = 65536
"""Bytes of a request's body held for an application that does not take them; past it reading pauses."""
HALF_CLOSE_GRACE: Final = 0.5
"""Seconds after the end of a client's sending until `receive` reports it as a disconnect."""

# What the connection is doing.
_IDLE: Final = 0  # no request: before the first, between two, or in a head
_BUSY: Final = 1  # an application call owes an answer
_SKIPPING: Final = 2  # the answer is out; what is left of the request's body is thrown away
_FLUSHING: Final = 3  # the answer is written, but a peer that does not take it is not given another
_LINGERING: Final = 4  # the last answer is out and our side is shut down

_monotonic_ns = time.monotonic_ns


class HttpConnection(AsgiConnection):
    """See the module. Also the `Wire` of `asgi_http`."""

    __slots__ = (
        "_body_mark",
        "_body_seen",
        "_ends",
        "_head_timed",
        "_phase",
        "_trusted",
        "base",
        "cycle",
        "half_closed",
        "http",
        "peer",
    )

    http: Http1Connection

    def __init__(self, service: Service, peername: Any = None, sockname: Any = None) -> None:
        """peername, sockname: both ends, as accept(2) or a PROXY header gave them (None: ask the socket)."""
        super().__init__(service)
        self._ends = (peername, sockname)
        self.cycle: HttpCycle | None = None
        self.half_closed = False
        self.base: dict[str, Any] = {}
        self.peer: str | None = None
        """The direct peer's host; None on a unix socket."""
        self._trusted = False
        self._phase = _IDLE
        self._head_timed = False
        self._body_seen = 0
        self._body_mark = 0

    # ------------------------------------------------------------------ asyncio's calls

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.write = transport.write
        service = self.service
        peername, sockname = self._ends
        client = address(peername or transport.get_extra_info("peername"))
        server = address(sockname or transport.get_extra_info("sockname"))
        scheme = "http" if transport.get_extra_info("sslcontext") is None else "https"
        if client is not None and client[1] is not None:
            self.peer = client[0]
            self.base = connection_base((client[0], client[1]), server, scheme)
        else:
            self.base = connection_base(None, server, scheme)
        self._trusted = service.trusted.trusts(self.peer)
        limits = service.trusted_limits if self._trusted else service.limits
        self.http = Http1Connection(limits, service.defaults)
        service.add(self)
        now = _monotonic_ns()
        self.read_deadline = now + service.times.header
        if service.draining:
            self.drain(now)

    def data_received(self, data: bytes) -> None:
        if self.closing:
            self.discard(data)
            return
        http = self.http
        events = http.receive(data)
        if events:
            first = events[0]
            if type(first) is Request and first.ended:  # nothing follows a complete request
                begun = self._begin(first)
                if begun is not None:
                    self._start(begun)
            else:
                self._take(events)
        elif self._phase == _IDLE and not self._head_timed and http.mid_head:
            self._head_timed = True
            self.read_deadline = _monotonic_ns() + self.service.times.header
        if not http.wants_read and not self.closing:
            self.pause()

    def eof_received(self) -> bool:
        """asyncio: True keeps our side open."""
        cycle = self.cycle
        transport = self.transport
        if self.closing or transport.get_extra_info("sslcontext") is not None:
            return False
        raw = transport.get_extra_info("socket")
        self.half_closed = True
        self.reading = False
        self.http.receive_eof()
        if cycle is None:
            return self._phase == _FLUSHING
        if not cycle.body_ended:
            self._lose(cycle, "the client disconnected")
            return False
        if hung_up(raw):
            self._lose(cycle, "the client disconnected")
            return False
        self.service.loop.call_later(HALF_CLOSE_GRACE, cycle.disconnect)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost()
        cycle = self.cycle
        if cycle is not None:
            self._lose(cycle, "the client disconnected")

    # ------------------------------------------------------------------ events

    def _take(self, events: list[Event]) -> None:
        begun: HttpCycle | None = None
        for event in events:
            kind = type(event)
            if kind is Request:
                begun = self._begin(event)  # type: ignore[arg-type]
            elif kind is Data:
                self._take_body(event.data)  # type: ignore[union-attr]
            elif kind is EndOfBody:
                self._take_end()
            elif kind is BadRequest:
                self._refuse(event)  # type: ignore[arg-type]
            elif self.cycle is None and not self.closing:  # Gone, after the last pipelined request
                self.close()
        if begun is not None and not begun.gone:  # only now: what came of its body is there
            self._start(begun)

    def _start(self, cycle: HttpCycle) -> None:
        service = self.service
        start = service.start  # apart from the call, as in all of this path: Python 3.11 is faster so
        task = start(cycle.run(service.app))
        if task is not None:
            cycle.task = task
            service.running.add(cycle)

    def _begin(self, request: Request) -> HttpCycle | None:
        service = self.service
        now = _monotonic_ns()
        self._phase = _BUSY
        self._head_timed = False
        http = self.http
        if not service.keeps_alive:
            http.keep_alive = False
        root, origin = service.root, None
        if request.forwarded and self._trusted:
            try:
                origin = service.forwarded.resolve(request.fields, self.peer, self.base["scheme"])
            except Refusal as refusal:
                self._refuse(refusal.fault)
                return None
            if origin is not None and origin.prefix:
                root = RootPath(origin.prefix)
        if service.request_ids is not None:
            request = service.request_ids.assign(request, self._trusted)
        if request.upgrade and upgrade(self, request, root, origin, now):
            return None
        scope = http_scope(self.base, request, root, service.state)
        if origin is not None:
            set_origin(scope, origin)
        cycle = self.cycle = HttpCycle(self, http, request, scope, now)
        if request.ended:
            self.read_deadline = NEVER
        else:
            self._body_seen = self._body_mark = 0
            self.read_deadline = now + service.times.body
        cycle.lane = service.row.begin(request.method, request.target, now)
        if service.observed and not self._pre_request(cycle):
            return None
        return cycle

    def _pre_request(self, cycle: HttpCycle) -> bool:
        """Call the pre_request hook; an exception in it is a failed request."""
        hook = self.service.ctx.hooks.pre_request
        if hook is None:
            return True
        try:
            hook(cycle.request)
        except BaseException as error:  # whatever a hook raises
            self.service.log.error("hook pre_request raised", exc_info=error, event="hook.failed")
            self._answer_for(cycle, 500)
            return False
        return True

    def _take_body(self, data: bytes) -> None:
        cycle = self.cycle
        self._body_seen += len(data)
        if cycle is not None:
            cycle.feed(data)
            if cycle.buffered > BODY_HIGH_WATER:
                self.pause()
                self.read_deadline = NEVER  # it is not the client who is late

    def _take_end(self) -> None:
        self.read_deadline = NEVER
        if self._phase == _SKIPPING:
            self._next(_monotonic_ns())
        elif self.cycle is not None:
            self.cycle.feed_end()

    def _refuse(self, fault: BadRequest) -> None:
        """The peer broke the protocol: the answer the fault calls for, and the end."""
        service = self.service
        service.row.add(Word.BAD_REQUESTS)
        service.log.info(
            "refused a request of %s with %d: %s %s",
            self.peer or "a local client",
            fault.status,
            fault.reason,
            fault.detail,
            event="request.refused",
        )
        cycle = self.cycle
        out = self.http.refuse(fault)
        if cycle is not None:
            cycle.status = fault.status if out else cycle.status
            self._lose(cycle, fault.reason)
        if out:
            self.write(out)
            self._linger()
        elif self._phase == _SKIPPING:
            self._linger()
        else:
            self.abort(fault.reason)

    # ------------------------------------------------------------------ the end of an exchange

    def response_done(self, cycle: HttpCycle) -> None:
        """The last byte of the answer was written (Wire)."""
        now = _monotonic_ns()
        self.cycle = None
        service = self.service
        service.row.end(cycle.status, cycle.started_ns, now, cycle.sent, cycle.lane)
        log_access = service.log_access
        if log_access is not None:
            log_access(cycle, now)
        if service.observed:
            self._observe(cycle)
        if cycle.body_ended:
            self._next(now)
        elif self.http.keep_alive and self.http.drain_body():
            self._phase = _SKIPPING
            self.read_deadline = now + service.times.header
            self.resume()
        else:
            self._linger()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._phase == _FLUSHING and not self.closing:
            self._next(_monotonic_ns())

    def _next(self, now: int) -> None:
        """The connection is free for its next request, which may be here already."""
        http = self.http
        if not http.keep_alive:
            if self.reading or self.half_closed:
                self.close()
            else:
                self._linger()  # there may be bytes in the kernel that nobody read
            return
        if self.write_paused:
            self._phase = _FLUSHING
            return
        service = self.service
        self._phase = _IDLE
        self.read_deadline = now + service.times.keepalive
        events = http.next_request()
        if events:
            # Not at once: this may be running inside the task of the request before.
            service.loop.call_soon(self._take_later, events)
        elif http.mid_head:  # a part of the next head came right behind this request
            self._head_timed = True
            self.read_deadline = now + service.times.header
        elif service.draining:
            self.drain(now)
        if not self.reading and http.wants_read:
            self.resume()

    def _take_later(self, events: list[Event]) -> None:
        if not self.closing:
            self._take(events)

    def _account(self, cycle: HttpCycle, now: int) -> None:
        """The exchange is over for the wire without having been completed."""
        self.cycle = None
        self.service.row.end(cycle.status, cycle.started_ns, now, cycle.sent, cycle.lane)
        if self.service.log_access is not None:
            self.service.log_access(cycle, now)
        if self.service.observed:
            self._observe(cycle)

    def _observe(self, cycle: HttpCycle) -> None:
        """Hook and the count of max_requests; once per exchange."""
        service = self.service
        hook = service.ctx.hooks.post_request
        if hook is not None:
            try:
                hook(cycle.request, cycle.scope, cycle)
            except BaseException as error:  # whatever a hook raises
                service.log.error("hook post_request raised", exc_info=error, event="hook.failed")
        service.count_request()

    def _lose(self, cycle: HttpCycle, reason: str) -> None:
        """Nobody can be answered any more: the application hears of it, the books are closed."""
        cycle.lose(reason)
        if self.cycle is cycle:
            self._account(cycle, _monotonic_ns())

    def _linger(self) -> None:
        self._phase = _LINGERING
        if self.half_closed:
            self.close()
        else:
            self.close_lingering()

    # ------------------------------------------------------------------ Wire

    def body_taken(self) -> None:
        """The application took what was held of the body: read on (Wire)."""
        if not self.reading and not self.closing and self.http.wants_read:
            self._body_mark = self._body_seen
            self.read_deadline = _monotonic_ns() + self.service.times.body
            self.resume()

    def break_off(self, cycle: HttpCycle, reason: str) -> None:
        """The answer cannot be completed: a visible break (Wire)."""
        cycle.aborted = cycle.aborted or reason
        self._lose(cycle, reason)
        self.abort(reason)

    def extended(self, cycle: HttpCycle, extra_ns: int) -> None:
        """The application called `arbiter.extend_deadline` (Wire)."""
        self.service.row.extend(cycle.lane, cycle.started_ns, extra_ns)

    def overdue(self, cycle: HttpCycle) -> None:
        """`request_timeout` is over: answer for the application, then cancel it (Wire)."""
        task = cycle.task
        begun = cycle.stage in (BODY, TRAILERS)
        self.service.log.warning(
            "%s %s has taken %.1f s (request_timeout = %g s%s): cancelled, %s%s",
            cycle.request.method,
            cycle.scope["path"],
            (_monotonic_ns() - cycle.started_ns) / SECOND,
            self.service.times.request / SECOND,
            f", extended by {cycle.extra_ns / SECOND:g} s" if cycle.extra_ns else "",
            "its connection broken" if begun else "answered with 504",
            f"\n{waiting_at(task)}" if task is not None else "",
            event="request.overdue",
            fields=about(cycle.request, self.peer, self.service.request_ids),
        )
        cycle.aborted = cycle.aborted or "request_timeout"
        if begun:
            self.break_off(cycle, "request_timeout")
        else:
            self._answer_for(cycle, 504)
        if task is not None:
            task.cancel()

    def app_failed(self, cycle: HttpCycle, error: BaseException | None) -> None:
        """The application raised, or returned (None) before its answer was complete (Wire)."""
        quiet = error is None or _is_about_the_peer(error)
        if quiet and cycle.gone:
            return
        if quiet and cycle.disconnected:
            self._gave_up(cycle)
            return
        if self.service.cutting and isinstance(error, asyncio.CancelledError):
            return  # logged by whoever cut it
        what = f"{cycle.request.method} {cycle.scope['path']}"
        log = self.service.log
        said = about(cycle.request, self.peer, self.service.request_ids)
        if error is None:
            stage = "before its response was complete" if cycle.stage else "without a response"
            log.error("the application returned %s: %s", stage, what, event="request.failed", fields=said)
        else:
            cause = _without_our_frames(error)
            text = "exception in the application: %s"
            log.error(text, what, exc_info=cause, event="request.failed", fields=said)
        if cycle.gone or cycle.stage == DONE:
            return
        if cycle.stage in (BODY, TRAILERS):
            self.break_off(cycle, "the application failed")
        else:
            cycle.aborted = cycle.aborted or "the application failed"
            self._answer_for(cycle, 500)

    def _gave_up(self, cycle: HttpCycle) -> None:
        """The application heard http.disconnect and ended: of a half-closed client, or because the worker
        drains.
        """
        if self.half_closed or cycle.stage in (BODY, TRAILERS):
            self.break_off(cycle, "the client disconnected" if self.half_closed else "the worker drains")
        elif cycle.stage != DONE:
            cycle.aborted = "the worker drains"
            self._answer_for(cycle, 503)

    def _answer_for(self, cycle: HttpCycle, status: int) -> None:
        """Answer in the application's place, and close."""
        out = self.http.error(status)
        cycle.status = status
        cycle.headers = ()
        self._lose(cycle, cycle.aborted)
        if not self.transport.is_closing():
            self.write(out)
            if cycle.body_ended and self.reading:
                self.close()
            else:
                self._linger()

    def app_done(self, cycle: HttpCycle) -> None:
        """The application's coroutine has ended (Wire)."""
        service = self.service
        service.running.discard(cycle)
        if service.draining:
            service.changed.set()

    # ------------------------------------------------------------------ what the worker's clock and end ask

    def expire(self, now: int) -> None:
        """A deadline has come."""
        if self.write_deadline <= now and self.write_expired(now):
            return
        if self.read_deadline > now:
            return
        self.read_deadline = NEVER
        if self._phase == _BUSY:
            self._body_expired(now)
        elif self._phase == _IDLE and self.http.mid_head:
            self._time_out("the head took too long")
        elif self._phase == _LINGERING:
            self.transport.abort() if self.transport.get_write_buffer_size() == 0 else self.transport.close()
        else:
            self.close()

    def _body_expired(self, now: int) -> None:
        """A window of `body_timeout` has passed: did enough of the body come in it?"""
        times = self.service.times
        came = self._body_seen - self._body_mark
        if came > 0 and came >= times.body_window:
            self._body_mark = self._body_seen
            self.read_deadline = now + times.body
            return
        self._time_out("the body came too slowly" if came else "the body stopped coming")

    def _time_out(self, reason: str) -> None:
        """RFC 9110 15.5.9: say so where a request had begun."""
        cycle = self.cycle
        who = self.peer or "a local client"
        self.service.log.info("timed out on a request of %s: %s", who, reason, event="request.late")
        out = self.http.error(408)
        if cycle is not None:
            if out:
                cycle.status = 408
            self._lose(cycle, reason)
        if out:
            self.write(out)
            self._linger()
        else:
            self.abort(reason)

    def drain(self, now: int) -> None:
        """The worker drains: say so in the answer that is due, or wait a moment for a request under way."""
        if self._phase == _BUSY:
            self.http.keep_alive = False
        elif self._phase == _IDLE and not self.http.mid_head:
            self.read_deadline = min(self.read_deadline, now + int(DRAIN_GRACE * SECOND))

    def warn(self) -> None:
        """The end is near: streams that listen hear http.disconnect while they can still say goodbye."""
        if self.cycle is not None:
            self.cycle.disconnect()

    def cut(self, reason: str) -> None:
        """The worker's time is up."""
        cycle = self.cycle
        if cycle is None:
            self.abort(reason)
        elif cycle.stage in (BODY, TRAILERS):
            self.break_off(cycle, reason)
        else:
            cycle.aborted = reason
            self._answer_for(cycle, 503)


def _is_about_the_peer(error: BaseException) -> bool:
    """Whether an exception only passes on that the client is gone.

    That is an OSError out of send() (ASGI 2.4), alone, in groups of a task group, or what a framework
    raised on catching it (Starlette's ClientDisconnect).
    """
    if isinstance(error, (OSError, asyncio.CancelledError)):
        return True
    if isinstance(error, BaseExceptionGroup):
        return all(_is_about_the_peer(inner) for inner in error.exceptions)
    cause = error.__cause__ or error.__context__
    return isinstance(cause, PeerGone) and type(error).__name__ == "ClientDisconnect"


def _without_our_frames(error: BaseException) -> BaseException:
    """The exception with a traceback that begins in the application."""
    traceback = error.__traceback__
    return error.with_traceback(
        traceback.tb_next if traceback is not None and traceback.tb_next else traceback
    )
