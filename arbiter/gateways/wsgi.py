"""One call of a WSGI application (PEP 3333): start_response, write, the iterable, close, and every way to
fail.

Neighbours: a dispatcher makes a `Call` per request, with the environ of `wsgi_environ`; what the
application says is checked and framed by `http1`, and what comes out is written to a `Channel`, which the
connection is. Its one rule: whatever the application does, the client gets a well-formed answer or a
visible break, `close()` of its iterable is called exactly once, and the dispatcher is told what went wrong
and survives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, TypeAlias

from arbiter.errors import PeerGone, ResponseError
from arbiter.gateways.wsgi_input import BodyBroken
from arbiter.protocols.http1.answer_fields import AnswerField, judge, worth_keeping
from arbiter.protocols.http1.connection import Http1Connection
from arbiter.protocols.http1.response import LARGE, reason_phrase
from arbiter.protocols.memo import Memo

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Application: TypeAlias = Callable[..., Iterable[bytes]]


class FilePart(Protocol):
    """A stretch of a file the channel can send by itself."""

    left: int
    """Bytes from its offset to its end; may be lowered."""

    def close(self) -> None:
        """Give it back unsent."""


class Channel(Protocol):
    """The way to the client."""

    def write(self, data: bytes) -> None:
        """Send, or keep and send later; raises `PeerGone` when there is nobody any more."""

    def writelines(self, pieces: list[bytes]) -> None:
        """As `write`, for several pieces at once, which are better not copied into one."""

    def file_part(self, file: Any) -> FilePart | None:
        """Take hold of what a file has from its current offset on; None if it is not a file on disk."""

    def write_file(self, head: bytes, part: FilePart) -> None:
        """As `write`: the head, then the stretch of a file, which the channel closes."""


class FileWrapper:
    """`wsgi.file_wrapper`: an iterable over a file that the server may send in a better way."""

    def __init__(self, filelike: Any, blksize: int = 65536) -> None:
        self.filelike = filelike
        self.blksize = blksize

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self.blksize)
        if data:
            return data
        raise StopIteration

    def close(self) -> None:
        """Close the file; looked up late: Django replaces the file's close() by the response's."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()


class _Statuses(Memo[str, tuple[int, bytes]]):
    """Status strings to (code, reason), b"" for the standard reason."""

    ENTRIES = 128

    __slots__ = ()

    _matches = re.compile(r"([1-9][0-9]{2})(?: (.*))?", re.ASCII).fullmatch

    def make(self, key: str) -> tuple[int, bytes]:
        match = self._matches(key) if isinstance(key, str) else None
        if match is None:
            raise ResponseError(f"the status is a str like '200 OK', not {key!r}")
        code = int(match[1])
        if code < 200:
            raise ResponseError(f"{key!r} is no final answer, and WSGI knows no other")
        try:
            reason = (match[2] or "").strip().encode("latin-1")
        except UnicodeEncodeError:
            raise ResponseError(f"the status {key!r} is not latin-1") from None
        return code, b"" if reason == reason_phrase(code) else reason

    def keeps(self, key: str, value: tuple[int, bytes]) -> bool:
        return len(key) < 64


class _Fields(Memo[tuple[str, str], AnswerField]):
    """Header tuples as applications give them, to checked lines."""

    __slots__ = ()

    def make(self, key: tuple[str, str]) -> AnswerField:
        if not isinstance(key, tuple) or len(key) != 2:
            raise ResponseError(f"a header is a tuple of two str, not {key!r}")
        name, value = key
        if not isinstance(name, str) or not isinstance(value, str):
            raise ResponseError(f"a header is a tuple of two str, not {key!r}")
        try:
            return judge(name.encode("ascii"), value.encode("latin-1"))
        except UnicodeEncodeError as error:
            raise ResponseError(f"the header {name!r} cannot be encoded: {error}") from None

    def keeps(self, key: tuple[str, str], value: AnswerField) -> bool:
        name, text = key
        if type(key) is not tuple or type(name) is not str or type(text) is not str:
            return False  # a subclass may be equal to what it is not
        return worth_keeping(name.encode("ascii"), len(name) + len(text), value)


_STATUSES: Final = _Statuses()
_FIELDS: Final = _Fields()


class Call:
    """One request and its answer.

    After `run`: `status` is what was answered (0: nothing), `sent` the body bytes, `headers` the
    application's, `faults` what to log, as (what happened, exception), and `aborted` why the connection
    must be broken ("" when it need not be).
    """

    # Values of the class, so that a call that goes well stores only what it has to say.
    status = 0
    status_line = ""
    headers: Sequence[tuple[str, str]] = ()
    sent = 0
    faults: list[tuple[str, BaseException | None]] | None = None
    aborted = ""

    def __init__(self, http: Http1Connection, channel: Channel) -> None:
        self.http = http
        self.channel = channel

    # -- what the application calls

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333, "The start_response() Callable".

        Raises `ResponseError` at once for what HTTP does not allow, so that the application's own traceback
        shows where it came from.
        """
        http = self.http
        if exc_info is not None:
            try:
                if http.head_sent and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle through the traceback
            http.started = False  # none of it was sent: the error's answer takes its place
        elif http.started:
            raise ResponseError("start_response() was called again, without exc_info")
        code, reason = _STATUSES[status]
        http.respond(code, headers, reason, fields=_FIELDS)
        self.status = code
        self.status_line = status
        self.headers = headers
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333, "The write() Callable": the bytes are on their way when it returns."""
        if type(data) is not bytes:
            data = _octets(data)
        if data:
            self._send(data, True)

    # -- what the dispatcher calls

    def run(self, app: Application, environ: dict[str, Any]) -> None:
        """Call the application and see its answer through; raises nothing but KeyboardInterrupt."""
        result: Any = None
        try:
            result = app(environ, self.start_response)
            kind = type(result)
            if (kind is list or kind is tuple) and len(result) == 1:
                # The whole body is one string: head, length and body leave in one piece.
                data = result[0]
                http = self.http
                size = len(data) if type(data) is bytes else -1
                if (
                    size >= 0
                    and http.started
                    and not http.no_body
                    and (http.length_left < 0 or size <= http.length_left)
                ):
                    if size < LARGE:
                        wire = http.body(data, False)
                        self.sent += size
                        self.channel.write(wire)
                    else:
                        self._send(data, False)
                else:
                    self._send(data if size >= 0 else _octets(data), False)
            elif kind is not FileWrapper or not self._send_file(result.filelike):
                self._iterate(result)
        except KeyboardInterrupt:
            self._break("interrupted")
            raise
        # Whatever it is, SystemExit of a view that calls sys.exit() included: one request fails, not the
        # worker.
        except BaseException as error:
            self._fail(error)
        finally:
            # A list has no close(), and this is the common case.
            if type(result) is not list:
                self._close(result)

    def _send(self, data: bytes, more: bool) -> None:
        http = self.http
        if not http.started:
            raise ResponseError("the application gave its body before it called start_response()")
        left = http.length_left
        if 0 <= left < len(data):
            self._fault("the body is longer than its Content-Length; the rest was not sent", None)
            data = data[:left]
        pieces = http.pieces(data, more)
        if not http.no_body:
            self.sent += len(data)
            if len(data) >= LARGE:
                self.channel.writelines(pieces)
                return
        if wire := b"".join(pieces):
            self.channel.write(wire)

    def _iterate(self, result: Iterable[bytes]) -> None:
        if result is None:
            raise ResponseError("the application returned None, not an iterable of bytes")
        http = self.http
        for data in result:
            if type(data) is not bytes:
                data = _octets(data)
            if data:
                self._send(data, True)
                if self.faults is not None or http.no_body:
                    break  # past its Content-Length, or an answer without a body: the rest is for nothing
        if not http.started:
            raise ResponseError("the application returned without having called start_response()")
        wire = http.body(b"", False)
        if wire:
            self.channel.write(wire)

    def _send_file(self, file: Any) -> bool:
        """Let the channel send a file of the disk; False if it cannot, or HTTP would not have it so."""
        http = self.http
        if not http.started or http.no_body:
            return False
        part = self.channel.file_part(file)
        if part is None:
            return False
        if 0 <= http.length_left < part.left:
            part.left = http.length_left
        count = part.left
        try:
            head = http.file_body(count, False) if count else None
        except ResponseError:  # shorter than its Content-Length
            part.close()
            raise
        if head is None:
            part.close()
            return False
        self.channel.write_file(head, part)
        self.sent += count
        return True

    def _close(self, result: Any) -> None:
        try:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._fault("close() of the application's iterable failed", error)

    # -- failing

    def _fault(self, what: str, error: BaseException | None) -> None:
        if self.faults is None:
            self.faults = []
        self.faults.append((what, error))

    def _break(self, reason: str) -> None:
        self.aborted = reason
        self.http.keep_alive = False

    def _fail(self, error: BaseException) -> None:
        """Answer 500 if nothing is out yet, else leave a visible break."""
        http = self.http
        if isinstance(error, PeerGone):
            self.sent = max(0, self.sent - error.unsent)
            self._break(str(error) or "the client is gone")
            status = error.status if isinstance(error, BodyBroken) else 0
        else:
            self._fault("the application failed", error)
            status = 500
        if http.head_sent:
            self.aborted = self.aborted or "the application failed after its answer had begun"
            http.keep_alive = False
            return
        self.status = 0
        self.sent = 0
        if not status:
            return
        http.started = False
        self.status = status
        self.aborted = ""
        try:
            self.channel.write(http.error(status))
        except PeerGone as gone:
            self._break(str(gone))


def _octets(data: Any) -> bytes:
    """Return what a lenient server may take for bytes; str and numbers are none."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise ResponseError(f"the body consists of bytes, not of {type(data).__name__}")
