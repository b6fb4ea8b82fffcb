"""The answering half of an HTTP/1.x connection: heads, framing, canned answers.

Neighbours: `connection.Http1Connection` inherits `Answer` and adds the reading half; gateways and
dispatchers call the methods and write what they return. Its one rule: what an application says is checked
before any of it is on the wire, and the framing is always ours (RFC 9112 6): exactly one of Content-Length,
chunked or close.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from arbiter.counted import counted
from arbiter.errors import ResponseError
from arbiter.protocols.events import BadRequest
from arbiter.protocols.fields import CONTROLS
from arbiter.protocols.http1.answer_fields import (
    CLOSE,
    DATE,
    FIELDS,
    LENGTH,
    SERVER,
    UPGRADE,
    AnswerField,
    plain_lines,
)
from arbiter.protocols.memo import Memo

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
Octets: TypeAlias = bytes | bytearray | memoryview

_PHRASES: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_STATUS_LINES: Final = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, phrase) for status, phrase in _PHRASES.items()
}
_LINES_WITH_PHRASE: Final = {(status, phrase): _STATUS_LINES[status] for status, phrase in _PHRASES.items()}
_CLASSES: Final = (b"Unknown", b"Informational", b"Success", b"Redirection", b"Client Error", b"Server Error")

_NOT_A_TRAILER: Final = frozenset((b"content-encoding", b"content-range", b"content-type", b"trailer"))
_CLOSE_LINE: Final = b"connection: close\r\n"
LARGE: Final = 32768
"""Bytes of a part that are better written from where they are than copied behind a head."""
_EXTRA_LINES: Final = {405: b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"}
"""What RFC 9110 demands of some answers (15.5.6: Allow with 405)."""


class ResponseDefaults:
    """The Date and Server lines of every response; one per worker, refreshed by its clock once a second.

    server: the value of Server, b"" for none. `lines` is both fields ready for a head, `date_line` and
    `server_line` each apart (an application may have given the other).
    """

    __slots__ = ("date_line", "lines", "server_line")

    def __init__(self, server: bytes = b"", date: bytes = b"") -> None:
        if len(server.translate(None, CONTROLS)) != len(server):
            raise ValueError(f"control byte in the Server value {server!r}")
        self.server_line = b"server: %b\r\n" % server if server else b""
        self.date_line = b""
        self.lines = self.server_line
        if date:
            self.refresh(date)

    def refresh(self, date: bytes) -> None:
        """`date` is an IMF-fixdate (RFC 9110 5.6.7), e.g. `observe.lines.http_date(now)`."""
        self.date_line = b"date: %b\r\n" % date
        self.lines = self.date_line + self.server_line


def reason_phrase(status: int) -> bytes:
    """The standard phrase of a status, or one for its class; never empty: some clients fail without one."""
    phrase = _PHRASES.get(status)
    if phrase is None:
        phrase = _CLASSES[status // 100] if status < 600 else _CLASSES[0]
    return phrase


def _status_line(status: int, reason: bytes) -> bytes:
    line = _LINES_WITH_PHRASE.get((status, reason))
    if line is None:
        if not isinstance(status, int) or not 100 <= status <= 999:
            raise ResponseError(f"the status of a response is a number from 100 to 999, not {status!r}")
        line = b"HTTP/1.1 %d %b\r\n" % (status, reason.strip() or reason_phrase(status))
        if len(line) - len(line.translate(None, CONTROLS)) != 2:
            raise ResponseError("control byte in a reason phrase")
    return line


def _octets(data: Octets) -> bytes:
    """The bytes in anything that has some."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise ResponseError(f"the body of a response is bytes, not {type(data).__name__}")


class Answer:
    """One response at a time: `respond`, then `body` until it returned the end; what they return is to be
    written.
    """

    __slots__ = (
        "_body_open",
        "_chunked",
        "_defaults",
        "_head",
        "_head_method",
        "_http10",
        "_plain",
        "_sized",
        "_tail",
        "_trailers",
        "continue_pending",
        "finished",
        "head_sent",
        "keep_alive",
        "length_left",
        "no_body",
        "started",
    )

    started: bool
    """`respond` was called; the head is checked and kept."""
    head_sent: bool
    """The head was returned to the caller: nothing can replace the answer any more."""
    finished: bool
    """The last byte of the response was returned to the caller."""
    no_body: bool
    """The response has no body bytes, whatever is passed to `body` (HEAD, 1xx, 204, 304)."""
    keep_alive: bool
    """The connection may serve another request; may be set False at any time, and the head then says so."""
    length_left: int
    """Body bytes still owed under Content-Length; -1 when the body is framed otherwise or there is none."""
    continue_pending: bool
    """The client waits for `100 Continue` and neither that nor a response was sent."""

    def __init__(self, defaults: ResponseDefaults) -> None:
        self._defaults = defaults
        self.keep_alive = True
        self._http10 = self.continue_pending = self._body_open = False
        self._head = self._tail = b""
        self._reset_answer()

    def _reset_answer(self) -> None:
        """Ready for another request; what is still True of the last one must not colour its refusal."""
        self.started = self.head_sent = self.finished = self._chunked = self._plain = False
        self.no_body = self._head_method = False
        self.length_left = -1

    def respond(
        self,
        status: int,
        headers: Iterable[Any],
        reason: bytes = b"",
        *,
        trailers: bool = False,
        fields: Memo[Any, AnswerField] = FIELDS,
    ) -> None:
        """Check and keep the head of the response; nothing is on the wire yet.

        status: 100 to 999. headers: in order; names are written as given. Hop-by-hop fields are dropped,
        `Connection: close` is honoured, Date and Server replace ours. trailers: `trailers()` will be called
        (not with a Content-Length, nor to HTTP/1.0, which have no place for them). fields: judges each item
        of `headers`, pairs of bytes if not said otherwise. Raises `ResponseError` for what HTTP does not
        allow (RFC 9110 5, 15); nothing is recorded then, and another call may follow.
        """
        if self.started:
            raise ResponseError("a response was already started for this request")
        status_line = None if reason else _STATUS_LINES.get(status)
        lines = [_status_line(status, reason) if status_line is None else status_line]
        length = -1
        marks = 0
        try:
            for item in headers:
                try:
                    line, kind, size = fields[item]
                except (TypeError, ValueError):  # a list, a bytearray, a memoryview: it could still change
                    line, kind, size = fields.make(item)
                if kind:
                    if kind == LENGTH:
                        if length >= 0:
                            raise ResponseError("more than one content-length in a response")
                        length = size
                        if status < 200 or status == 204:
                            continue
                    else:
                        marks |= 1 << kind
                        if kind >= UPGRADE and (kind != UPGRADE or status != 426):
                            continue
                lines.append(line)
        except (TypeError, ValueError) as error:
            raise ResponseError(f"the fields of a response are pairs: {error}") from error
        self._head = b"".join(lines)
        self._tail = self._defaults.lines if not marks else self._marked_tail(status, marks)
        self.length_left = length
        self._sized = length >= 0
        self._trailers = trailers
        self.started = True
        if status < 200 or status == 204 or status == 304 or self._head_method:
            self._leave_body_out(status)
        else:
            self.no_body = False
            self._plain = not (self._http10 or trailers)

    def _marked_tail(self, status: int, marks: int) -> bytes:
        """Our own lines of the head, less those the application gave itself."""
        defaults = self._defaults
        if marks & 1 << CLOSE:
            self.keep_alive = False
        tail = b"" if marks & 1 << DATE else defaults.date_line
        if not marks & 1 << SERVER:
            tail += defaults.server_line
        if status == 426 and marks & 1 << UPGRADE:
            tail += b"connection: upgrade\r\n"
        return tail

    def _leave_body_out(self, status: int) -> None:
        """RFC 9110 6.4.1: HEAD, 1xx, 204 and 304 have no content; a final 1xx leaves nothing but closing."""
        self.no_body = True
        self._plain = False
        self.length_left = -1
        if status < 200 or status == 204 or status == 304:
            self._sized = True
        if status < 200:
            self.keep_alive = False

    def body(self, data: Octets, more: bool) -> bytes:
        """What to write now: the head, if it is not out yet, and `data` framed; `more` False ends the
        response.

        Raises `ResponseError` when the response was not started or is over, for more bytes than
        Content-Length (nothing of the part is returned), and for an end before Content-Length was reached:
        the caller must then abort the connection if `head_sent`, and may still call `error(500)` if not.
        """
        if type(data) is not bytes:
            data = _octets(data)
        if more or self.head_sent or not self._plain:
            return self._part(data, more)
        size = len(data)
        framing = b""
        if self.length_left < 0:
            framing = b"content-length: %d\r\n" % size
        elif self.length_left != size:
            self._count(size, more)
        self.length_left = 0
        self.head_sent = self.finished = True
        if self._body_open:
            self._judge_unread_body(more)
        if self.keep_alive:
            return b"".join((self._head, self._tail, framing, b"\r\n", data))
        return b"".join((self._head, self._tail, framing, b"connection: close\r\n\r\n", data))

    def _part(self, data: bytes, more: bool) -> bytes:
        """The general case of `body`."""
        return b"".join(self.pieces(data, more))

    def pieces(self, data: bytes, more: bool) -> list[bytes]:
        """As `body`, in pieces (some of them may be empty): a part of `LARGE` bytes is dear to copy."""
        self._check_open()
        size = len(data)
        self._count(size, more)
        head = b"" if self.head_sent else self._send_head(size, more)
        self.finished = not more
        if self.no_body:
            return [head]
        if not self._chunked:
            return [head, data]
        end = b"" if more else b"0\r\n\r\n"
        if not size:
            return [head, end]
        return [b"%b%x\r\n" % (head, size), data, b"\r\n" + end]

    def file_body(self, count: int, more: bool) -> bytes | None:
        """What to write before the caller itself sends `count` raw bytes (sendfile); counts them as sent.

        None when the body is chunked: read the file and use `body`. With `no_body` the caller sends none of
        them. Raises `ResponseError` as `body` does.
        """
        self._check_open()
        if not self.no_body:
            unframed = not self._sized and (more or self._trailers) and not self._http10
            if self._chunked or (unframed and not self.head_sent):
                return None
        self._count(count, more)
        head = b"" if self.head_sent else self._send_head(count, more)
        self.finished = not more
        return head

    def trailers(self, headers: Headers) -> bytes:
        """End a chunked response with trailer fields; elsewhere they are left out (RFC 9110 6.5)."""
        self._check_open()
        if not self.head_sent:
            raise ResponseError("trailers come after the body")
        lines = plain_lines(headers, _NOT_A_TRAILER)
        if not self._chunked or not self._trailers:
            return self._part(b"", False)
        self.finished = True
        return b"0\r\n%b\r\n" % lines

    def interim(self, status: int, headers: Headers) -> bytes:
        """An informational response (RFC 9110 15.2); b"" to HTTP/1.0, too late, or 100 when nobody waits
        for it.
        """
        if status not in (100, 102, 103):
            raise ResponseError(f"{status!r} is not an interim response")
        if self._http10 or self.head_sent:
            return b""
        if status == 100:
            if not self.continue_pending:
                return b""
            self.continue_pending = False
        return b"%b%b\r\n" % (_STATUS_LINES[status], plain_lines(headers))

    def refuse(self, fault: BadRequest) -> bytes:
        """The server's answer to a peer that broke the protocol; b"" when a response has begun."""
        return self._own_answer(fault.status, b": " + fault.reason.encode("ascii", "replace"))

    def error(self, status: int) -> bytes:
        """The server's own answer: 500, 503, 504, 408; b"" when a response has begun."""
        return self._own_answer(status, b"")

    def _own_answer(self, status: int, reason: bytes) -> bytes:
        self.keep_alive = False
        if self.head_sent:
            return b""
        self.started = self.head_sent = self.finished = True
        self.continue_pending = False
        self.length_left = -1
        text = b"%d %b%b\n" % (status, reason_phrase(status), reason)
        return b"".join(
            (
                _status_line(status, b""),
                self._defaults.lines,
                _EXTRA_LINES.get(status, b""),
                b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(text),
                b"connection: close\r\n\r\n",
                b"" if self._head_method else text,
            )
        )

    def _check_open(self) -> None:
        if not self.started:
            raise ResponseError("the body of a response comes after its head")
        if self.finished:
            raise ResponseError("the response is already complete")

    def _count(self, size: int, more: bool) -> None:
        """Hold the body to its Content-Length (RFC 9112 6.2: nothing past it, nothing missing)."""
        left = self.length_left
        if left < 0:
            return
        if size > left:
            raise ResponseError(
                f"the response body is {counted(size - left, 'byte')} longer than its content-length"
            )
        left -= size
        if left and not more:
            self.keep_alive = False
            raise ResponseError(
                f"the response body is {counted(left, 'byte')} shorter than its content-length"
            )
        self.length_left = left

    def _send_head(self, size: int, more: bool) -> bytes:
        """The complete head, with the framing chosen by what is known now (RFC 9112 6.1)."""
        parts = [self._head, self._tail]
        if not self._sized:
            if not more and not self._trailers:
                if size or not self.no_body:
                    parts.append(b"content-length: %d\r\n" % size)
            elif self.no_body:
                pass  # what a GET would be framed by is not known, and need not be said
            elif self._http10:
                self.keep_alive = False
            else:
                self._chunked = True
                parts.append(b"transfer-encoding: chunked\r\n")
        if self._body_open:
            self._judge_unread_body(more)
        if not self.keep_alive:
            parts.append(_CLOSE_LINE)
        elif self._http10:
            parts.append(b"connection: keep-alive\r\n")
        parts.append(b"\r\n")
        self.head_sent = True
        return b"".join(parts)

    def _judge_unread_body(self, more: bool) -> None:
        """The head goes out while request body is still to come: may the connection be used again?"""
        raise NotImplementedError
