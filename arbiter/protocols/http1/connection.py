"""One HTTP/1.x connection, without its socket: bytes in, events out; answers in, bytes out.

Neighbours: reads heads with `head`, bodies with `body`, inherits the answering half from `response`; every
kind of worker drives one `Http1Connection` per TCP connection. Its one rule: one request at a time. After a
complete request nothing is parsed until `next_request()`, so pipelined requests are answered in order and
what follows a closing request is never executed.
"""

from __future__ import annotations

from typing import Final

from arbiter.protocols.events import BadRequest, Data, EndOfBody, Event, Gone, Request
from arbiter.protocols.fields import Refusal
from arbiter.protocols.http1.body import ChunkedBody, LengthBody
from arbiter.protocols.http1.head import parse_head, parse_head_again, scan_head
from arbiter.protocols.http1.response import Answer, ResponseDefaults
from arbiter.protocols.limits import Limits

__all__ = ["Http1Connection", "ResponseDefaults"]

# Where the reading half stands.
_HEAD: Final = 0  # at the start of a head; nothing is held
_PARTIAL: Final = 1  # in a head; its bytes so far are held
_BODY: Final = 2
_COMPLETE: Final = 3  # the request is complete; later bytes are held
_CLOSED: Final = 4  # refused, ended or detached

_EMPTY_LINES: Final = 4
"""Empty lines skipped before a request line (RFC 9112 2.2 asks for at least one)."""
_KEPT_LINES: Final = 4096
"""Bytes of field lines that are kept, at most, to know them when they come again."""
_KEPT_HEAD: Final = 1024
"""Bytes of a whole head that are kept for that; clients that poll send the same one over and over."""


class Http1Connection(Answer):
    """The protocol of one TCP connection; reset, not rebuilt, between requests.

    `receive` gives events in order: `Request`, then `Data` and `EndOfBody` unless it `ended`; or
    `BadRequest`, after which nothing is parsed any more. Answer with `respond` and `body`, then
    `next_request()` if `keep_alive`.
    """

    __slots__ = (
        "_again",
        "_before",
        "_body",
        "_drain_left",
        "_empty_lines",
        "_eof",
        "_held",
        "_limits",
        "_line_start",
        "_lines",
        "_phase",
        "_seen",
        "wants_read",
    )

    wants_read: bool
    """False: stop reading; enough is held (until `next_request()`), or nothing more will be looked at."""

    def __init__(self, limits: Limits, defaults: ResponseDefaults) -> None:
        super().__init__(defaults)
        self._limits = limits
        self._phase = _HEAD
        self._held = b""
        self._line_start = 0  # of a partial head: its first incomplete line
        self._empty_lines = 0
        self._body: LengthBody | ChunkedBody | None = None
        self._drain_left = -1  # -1: the body is wanted
        self._eof = False
        self._lines: bytes | None = None
        """The field lines of the request `_before`."""
        self._seen = b""
        """The whole head of a request with these lines, b"" for none yet; `_again` is it if it came twice."""
        self._again: Request | None = None
        self._before: Request
        self.wants_read = True

    # ---- reading

    def receive(self, data: bytes) -> list[Event]:
        """The events in `data`, which follows all bytes passed before. Never raises for what a peer sends."""
        if self._phase == _HEAD:
            again = self._again
            if again is not None:
                seen = self._seen
                if data == seen:
                    return self._begin(again, b"")
                if data.startswith(seen):
                    return self._begin(again, data[len(seen) :])
            end = data.find(b"\r\n\r\n")
            if 0 <= end <= self._limits.plain_head:
                try:
                    request = self._parse(data, end)
                except Refusal:
                    pass  # judged again below, where the fault that comes first in the bytes is found
                else:
                    return self._begin(request, data[end + 4 :])
            return self._receive_head(data)
        if self._phase == _BODY:
            return self._receive_body(data, [])
        if self._phase == _PARTIAL:
            return self._receive_head(self._held + data)
        if self._phase == _COMPLETE and self.keep_alive:
            self._hold(self._held + data)
        return []

    def _parse(self, data: bytes, end: int) -> Request:
        """As `parse_head`; field lines that are the ones of the request before are not read again."""
        first = data.find(b"\r\n")
        lines = data[first:end]
        request = None
        if lines == self._lines:
            request = parse_head_again(data[:first], self._before)
        if request is None:
            request = parse_head(data[:end], self._limits)
            self._again = None
            if len(lines) <= _KEPT_LINES:
                self._lines = lines
                self._before = request
                self._seen = b""
        elif end > _KEPT_HEAD:
            self._again = None
        elif data.startswith(self._seen) and len(self._seen) == end + 4:
            self._again = request
        else:
            self._again = None
            self._seen = data[: end + 4]
        return request

    def _receive_head(self, data: bytes) -> list[Event]:
        """A head that came in pieces, is long, has a fault, or follows empty lines."""
        while self._empty_lines < _EMPTY_LINES and data[:2] == b"\r\n":
            data = data[2:]
            self._empty_lines += 1
        try:
            end, self._line_start = scan_head(data, self._line_start, self._limits)
            if end < 0:
                self._held = data
                self._phase = _PARTIAL if data else _HEAD
                return []
            request = parse_head(data[: end - 2], self._limits)
        except Refusal as refusal:
            return [self._close(refusal.fault)]
        self._line_start = 0
        self._held = b""
        return self._begin(request, data[end + 2 :])

    def _begin(self, request: Request, rest: bytes) -> list[Event]:
        self._empty_lines = 0
        self.keep_alive = request.keep_alive
        self._http10 = request.version != "1.1"
        self._head_method = request.method == "HEAD"
        if request.ended:
            self._phase = _COMPLETE
            if rest or self._eof:
                self._hold(rest)
            return [request]
        if len(rest) == request.length:  # all of it came with the head: there is nothing to keep count of
            self._phase = _COMPLETE
            if self._eof:
                self._hold(b"")
            return [request, Data(rest), EndOfBody([])]
        self._phase = _BODY
        self._body_open = True
        self._body = ChunkedBody(self._limits) if request.chunked else LengthBody(request.length)
        self.continue_pending = request.expect_continue
        events: list[Event] = [request]
        return self._receive_body(rest, events) if rest else events

    def _receive_body(self, data: bytes, events: list[Event]) -> list[Event]:
        body = self._body
        assert body is not None
        self.continue_pending = self.continue_pending and not data
        decoded: list[Event] = events if self._drain_left < 0 else []
        try:
            rest = body.feed(data, decoded)
        except Refusal as refusal:
            events.append(self._close(refusal.fault))
            return events
        if self._drain_left >= 0:
            self._drain_left -= len(data) - len(rest or b"")
            if self._drain_left < 0:
                events.append(self._close(BadRequest(413, "unread request body too large to skip")))
                return events
        if rest is not None:
            events.append(EndOfBody(list(body.trailers)))
            self._body = None
            self._body_open = self.continue_pending = False
            self._drain_left = -1
            self._phase = _COMPLETE
            self._hold(rest)
        return events

    def _hold(self, rest: bytes) -> None:
        """Keep what came after a complete request; nothing after a closing one is ever looked at."""
        if not self.keep_alive:
            rest = b""
        self._held = rest
        self.wants_read = not self._eof and len(rest) <= self._limits.pipeline
        if self._eof and not rest:
            self.keep_alive = False

    def _close(self, fault: BadRequest) -> BadRequest:
        self._phase = _CLOSED
        self._held = b""
        self._body = None
        self.wants_read = False
        self.keep_alive = False
        return fault

    def receive_eof(self) -> list[Event]:
        """The peer ended its sending side. A complete request can still be answered (RFC 9112 9.6)."""
        if self._phase == _CLOSED or self._eof:
            return []
        self._eof = True
        self.wants_read = False
        clean = self._phase in (_HEAD, _COMPLETE)
        if self._phase == _COMPLETE:
            self._hold(self._held)
        else:
            self._phase = _CLOSED
            self._held = b""
            self.keep_alive = False
        return [Gone(clean)]

    @property
    def mid_head(self) -> bool:
        """An incomplete head is held: a time-out is then answered with 408, else with a silent close."""
        return self._phase == _PARTIAL and self._held != b"\r"

    def next_request(self) -> list[Event]:
        """The response is complete and the connection stays: go on with the next request, maybe already here.

        After the peer's end of sending, `Gone` follows the last complete request.
        """
        if self._phase != _COMPLETE or not self.finished or not self.keep_alive:
            raise RuntimeError("next_request() before the exchange is over, or on a connection that closes")
        self._phase = _HEAD
        self._reset_answer()
        held = self._held
        if not held:
            return []
        self._held = b""
        self.wants_read = not self._eof
        events = self.receive(held)
        if self._eof and self._phase != _COMPLETE and self._phase != _CLOSED:
            self._close(BadRequest(400, "incomplete request"))
            events.append(Gone(False))
        return events

    def drain_body(self) -> bool:
        """The response is finished but the request's body is not: throw the rest away, up to `limits.drain`.

        True: go on with `receive`, which gives no `Data` any more; after `EndOfBody` call `next_request()`.
        If the body turns out too long, `BadRequest` comes and `refuse` returns b"": close. False: close
        now.
        """
        if self._phase != _BODY or not self.keep_alive:
            return self._phase == _COMPLETE and self.keep_alive
        assert self._body is not None
        if self._body.left > self._limits.drain:
            self.keep_alive = False
            return False
        self._drain_left = self._limits.drain
        return True

    def _judge_unread_body(self, more: bool) -> None:
        """RFC 9110 10.1.1: without 100 nobody knows whether the body will come; and a long rest is not
        drained.
        """
        if self.continue_pending:
            self.continue_pending = self.keep_alive = False
        elif not more and self._body is not None and self._body.left > self._limits.drain:
            self.keep_alive = False

    # ---- upgrade

    def detach(self) -> bytes:
        """The bytes that came after the head; another protocol takes over and this object is done."""
        held = self._held
        self._close(BadRequest(400, "detached"))
        return held
