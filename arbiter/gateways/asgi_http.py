"""One HTTP exchange as ASGI sees it: `receive` and `send` of a single application call.

Neighbours: `workers.asgi_protocol` feeds it with the request body and is the `Wire` it answers through;
`protocols.http1` frames the answer; `dispatch.start` runs `HttpCycle.run`. Its one rule: whatever the
application does, in whatever order, the client gets a well-formed answer or a visible break, and the
application is told by an exception of its own `send` what it did wrong.

The head is held until the first part of the body is known, so an application that fails in between still
yields a clean 500, and head and body leave in one write.

Sources: asgiref specs/www.rst 2.5, docs/extensions.rst; RFC 9110 10.1.1; RFC 9112 6, 9.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from arbiter.deadline import CURRENT
from arbiter.errors import PeerGone, ResponseError
from arbiter.protocols.events import Request
from arbiter.protocols.http1.connection import Http1Connection
from arbiter.protocols.http1.response import LARGE

Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

SEND_GRACE: Final = 2.0
"""Seconds `send` is held after a disconnect that a waiting `receive` was told of; see `HttpCycle._refused`.
"""
_set_current: Final = CURRENT.set
FILE_BLOCK: Final = 256 * 1024
"""Bytes read at a time where a file cannot go out by sendfile."""

# How far the answer is.
NOTHING: Final = 0
HELD: Final = 1  # http.response.start was given, nothing of it is on the wire
BODY: Final = 2
TRAILERS: Final = 3  # the body is complete, http.response.trailers is awaited
DONE: Final = 4


class Wire(Protocol):
    """What a cycle needs of its connection."""

    http: Http1Connection
    write_paused: bool

    @property
    def sends_files(self) -> bool:
        """Whether `send_file` can be used."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """Queue bytes for the client."""

    def writelines(self, pieces: list[bytes]) -> None:
        """As `write`, for several pieces at once, which are better not copied into one."""

    async def drained(self) -> None:
        """Wait until the client has taken enough of what is queued, or is gone."""

    async def send_file(self, file: int, offset: int, count: int) -> None:
        """Send `count` bytes of an open file; raises ResponseError when the file ends early."""

    async def read_file(self, file: int, offset: int, count: int) -> bytes:
        """Read a block of an open file."""

    def body_taken(self) -> None:
        """The application took what was buffered of the request's body."""

    def response_done(self, cycle: HttpCycle) -> None:
        """The last byte of the answer was written."""

    def break_off(self, cycle: HttpCycle, reason: str) -> None:
        """Break the connection visibly: the answer cannot be completed."""

    def extended(self, cycle: HttpCycle, extra_ns: int) -> None:
        """The application has moved the exchange's deadlines by so many ns."""

    def overdue(self, cycle: HttpCycle) -> None:
        """The exchange takes longer than an exchange may."""

    def app_failed(self, cycle: HttpCycle, error: BaseException | None) -> None:
        """The application raised, or (None) returned before its answer was complete."""

    def app_done(self, cycle: HttpCycle) -> None:
        """The application's coroutine has ended."""


class HttpCycle:
    """One call of the application for one request; `receive` and `send` are what it is given."""

    __slots__ = (
        "_body_given",
        "_chunks",
        "_drop_trailers",
        "_http",
        "_told",
        "_trailers",
        "_waiters",
        "_wire",
        "aborted",
        "body_ended",
        "buffered",
        "disconnected",
        "extra_ns",
        "gone",
        "headers",
        "lane",
        "request",
        "scope",
        "sent",
        "stage",
        "started_ns",
        "status",
        "task",
    )

    def __init__(
        self, wire: Wire, http: Http1Connection, request: Request, scope: dict[str, Any], started_ns: int
    ) -> None:
        self.request = request
        self.scope = scope
        self.started_ns = started_ns
        self.extra_ns = 0
        """By how much the application has moved its deadlines."""
        self.stage = NOTHING
        self.status = 0
        self.sent = 0
        """Bytes of the answer's body so far."""
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        self.gone = False
        """Nothing more can be sent: the client is gone, or was answered by the server itself."""
        self.disconnected = False
        """`receive` reports http.disconnect."""
        self.lane = -1
        """Where the scoreboard keeps it."""
        self.aborted = ""
        self.task: asyncio.Task[None] | None = None
        self.buffered = 0
        """Bytes of the request's body that the application has not taken yet."""
        self._wire = wire
        self._http = http
        self._chunks: list[bytes] | None = None
        self.body_ended = request.ended
        """The whole request has arrived."""
        self._body_given = False
        self._waiters: list[asyncio.Future[None]] | None = None
        self._told = False
        self._trailers: list[tuple[bytes, bytes]] | None = None
        self._drop_trailers = False

    # ------------------------------------------------------------------ what the connection calls

    def feed(self, data: bytes) -> None:
        """A part of the request's body arrived."""
        if self.stage == DONE:
            return
        if self._chunks is None:
            self._chunks = [data]
        else:
            self._chunks.append(data)
        self.buffered += len(data)
        if self._waiters:
            self._wake()

    def feed_end(self) -> None:
        """The request's body is complete."""
        self.body_ended = True
        if self._waiters:
            self._wake()

    @property
    def complete(self) -> bool:
        """The answer is complete."""
        return self.stage == DONE

    def disconnect(self) -> None:
        """Let `receive` report http.disconnect; `send` still works (the client may only have half-closed)."""
        self.disconnected = True
        if self._waiters:
            self._wake()

    def lose(self, reason: str) -> None:
        """Nothing can be sent any more."""
        if self.gone or self.stage == DONE:
            return
        self.gone = True
        self.disconnected = True
        self.aborted = self.aborted or reason
        if self._waiters:
            self._told = True
            self._wake()

    def extend(self, seconds: float) -> bool:
        """As `deadline.Extendable.extend`."""
        if self.gone or self.stage == DONE:
            return False
        extra = int(seconds * 1e9)
        self.extra_ns += extra
        self._wire.extended(self, extra)
        return True

    def expire(self, limit_ns: int, now: int) -> int:
        """See that the exchange takes no longer than `limit_ns` and its extensions; the ns it has left, 0 if
        none.
        """
        if self.gone or self.stage == DONE:
            return 0
        left = self.started_ns + limit_ns + self.extra_ns - now
        if left <= 0:
            self._wire.overdue(self)
        return max(0, left)

    async def run(self, app: Application) -> None:
        """Call the application and see that its answer is completed one way or the other."""
        _set_current(self)
        try:
            await app(self.scope, self.receive, self.send)
        except GeneratorExit:
            raise  # the loop is being torn down; nothing can be written any more
        except BaseException as error:  # SystemExit in a view is a failed view, not a stop order
            self._wire.app_failed(self, error)
        else:
            if self.stage != DONE and not self.gone:
                self._wire.app_failed(self, None)
        finally:
            if self.task is not None:  # None: the first step was the last, nobody has taken note of it
                self.task = None
                self._wire.app_done(self)

    # ------------------------------------------------------------------ receive

    async def receive(self) -> Message:
        """The next part of the request's body, then http.disconnect once there is one to tell of."""
        while True:
            if self.gone or self.stage == DONE:
                return {"type": "http.disconnect"}
            if not self._body_given:
                if self._chunks is not None:
                    return self._part()
                if self.body_ended:
                    self._body_given = True
                    return {"type": "http.request", "body": b"", "more_body": False}
                if self._http.continue_pending and not self._http.head_sent:
                    self._wire.write(self._http.interim(100, ()))
            if self.disconnected:
                return {"type": "http.disconnect"}
            waiter = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = [waiter]
            else:
                self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if not waiter.done() or waiter.cancelled():
                    self._forget(waiter)

    def _part(self) -> Message:
        chunks = self._chunks
        assert chunks is not None
        self._chunks = None
        self.buffered = 0
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if self.body_ended:
            self._body_given = True
            return {"type": "http.request", "body": body, "more_body": False}
        self._wire.body_taken()
        return {"type": "http.request", "body": body, "more_body": True}

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _forget(self, waiter: asyncio.Future[None]) -> None:
        if self._waiters is not None and waiter in self._waiters:
            self._waiters.remove(waiter)

    # ------------------------------------------------------------------ send

    async def send(self, message: Message) -> None:
        """Take one message of the application.

        Raises ResponseError for a message that breaks ASGI or HTTP, PeerGone (an OSError) when the client
        is gone. Returns when the message is written, or queued within the bounds of the transport's buffer.
        """
        if self.gone:
            await self._refused()
        try:
            kind = message["type"]
            if kind == "http.response.body":
                if self.stage != HELD and self.stage != BODY:
                    raise ResponseError(self._misplaced(kind))
                data = message.get("body", b"")
                if type(data) is not bytes:
                    data = _bytes_of(data)
                self._write(data, message.get("more_body", False))
            elif kind == "http.response.start":
                self._start(message)
                return
            else:
                await self._other(kind, message)
        except KeyError as error:
            raise ResponseError(f"a message to send() lacks the key {error}: {_shown(message)}") from None
        if self._wire.write_paused:
            await self._wire.drained()
            if self.gone and self.stage != DONE:
                await self._refused()

    async def _refused(self) -> None:
        """Raise PeerGone, but let an application that listens for http.disconnect react to that first.

        Django cleans up (response.close(), request_finished) when its listener hears of the disconnect, and
        does not when send() raises: so while a listener has just been told, send() is held a moment, in
        which the application normally cancels the task that called it.
        """
        if self._told:
            self._told = False
            await asyncio.sleep(SEND_GRACE)
        raise PeerGone("the client has disconnected")

    def _start(self, message: Message) -> None:
        if self.stage != NOTHING:
            raise ResponseError("http.response.start was already sent")
        headers = message.get("headers", ())
        if type(headers) is not list:
            headers = list(headers)
        status = message["status"]
        if message.get("trailers", False):
            self._start_with_trailers(status, headers)
        else:
            self._http.respond(status, headers)
        self.status = status
        self.headers = headers
        self.stage = HELD

    def _start_with_trailers(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        accepted = self._accepts_trailers()
        self._http.respond(status, headers, trailers=accepted)
        if accepted:
            self._trailers = []
        else:
            self._drop_trailers = True

    def _accepts_trailers(self) -> bool:
        """RFC 9110 6.5.1: trailers are for a client that said `TE: trailers`."""
        if self.request.version != "1.1":
            return False
        for field in self.request.fields:
            if field.pair[0] == b"te":
                codings = field.pair[1].lower().split(b",")
                if any(coding.partition(b";")[0].strip() == b"trailers" for coding in codings):
                    return True
        return False

    def _write(self, data: bytes, more: object) -> None:
        """Frame and write a part; the last one ends the answer (or lets its trailers follow)."""
        if more or self._trailers is not None:
            self._write_part(data, bool(more))
            return
        self._put(data, False)
        self._finish()

    def _write_part(self, data: bytes, more: bool) -> None:
        """A part after which something follows, be it only trailers."""
        self._put(data, True)
        self.stage = BODY if more else TRAILERS

    def _put(self, data: bytes, more: bool) -> None:
        http, wire = self._http, self._wire
        large = len(data) >= LARGE and not http.no_body
        try:
            if large:
                pieces = http.pieces(data, more)
            else:
                out = http.body(data, more)
        except ResponseError:
            self._misframed()
            raise
        if not http.no_body:
            self.sent += len(data)
        if large:
            wire.writelines(pieces)
        elif out:
            write = wire.write
            write(out)

    def _misframed(self) -> None:
        """Too long or too short for its Content-Length; if part of it is out, only a break can say so."""
        if self._http.head_sent:
            self._wire.break_off(self, "the body does not have the promised Content-Length")

    def _finish(self) -> None:
        self.stage = DONE
        if self._waiters:
            self._wake()
        self._wire.response_done(self)

    async def _other(self, kind: str, message: Message) -> None:
        if kind == "http.response.trailers":
            self._take_trailers(message)
        elif kind == "http.response.early_hint":
            self._early_hint(message)
        elif kind == "http.response.pathsend":
            await self._path_send(message)
        elif kind == "http.response.zerocopysend":
            await self._zero_copy_send(message)
        else:
            raise ResponseError(f"send() does not know messages of type {kind!r}")

    def _take_trailers(self, message: Message) -> None:
        if self._drop_trailers and self.stage == DONE:
            return
        if self.stage != TRAILERS or self._trailers is None:
            raise ResponseError(self._misplaced("http.response.trailers"))
        self._trailers.extend(message.get("headers", ()))
        if not message.get("more_trailers", False):
            self._wire.write(self._http.trailers(self._trailers))
            self._finish()

    def _early_hint(self, message: Message) -> None:
        if self.stage not in (NOTHING, HELD) or self.request.version != "1.1":
            return  # too late or not possible: a hint is only ever a hint
        links = [(b"link", _bytes_of(link)) for link in message["links"]]
        out = self._http.interim(103, links)
        if out:
            self._wire.write(out)

    # ------------------------------------------------------------------ files

    async def _path_send(self, message: Message) -> None:
        """`http.response.pathsend`: the whole body is the file of that path."""
        path = message["path"]
        if self.stage != HELD:
            raise ResponseError(self._misplaced("http.response.pathsend"))
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block the loop
        try:
            size = os.fstat(file).st_size
            await self._send_range(file, 0, size, more=False)
        finally:
            os.close(file)

    async def _zero_copy_send(self, message: Message) -> None:
        """`http.response.zerocopysend`: a range of a file that the application keeps open and closes
        itself.
        """
        if self.stage not in (HELD, BODY):
            raise ResponseError(self._misplaced("http.response.zerocopysend"))
        file = message["file"]
        descriptor = file if isinstance(file, int) else file.fileno()
        offset = message.get("offset")
        count = message.get("count")
        from_position = offset is None
        if offset is None:
            offset = os.lseek(descriptor, 0, os.SEEK_CUR)
        if count is None:
            count = max(0, os.fstat(descriptor).st_size - offset)
        if offset < 0 or count < 0:
            raise ResponseError(
                f"http.response.zerocopysend: offset {offset} and count {count} must not be negative"
            )
        await self._send_range(descriptor, offset, count, more=bool(message.get("more_body", False)))
        if from_position:
            os.lseek(descriptor, offset + count, os.SEEK_SET)

    async def _send_range(self, file: int, offset: int, count: int, more: bool) -> None:
        http, wire = self._http, self._wire
        if http.no_body or count == 0:
            self._write(b"", more)
            return
        head = None
        if wire.sends_files and count >= FILE_BLOCK and self._trailers is None:
            head = http.file_body(count, more)
        if head is None:
            await self._copy_range(file, offset, count, more)
            return
        self.stage = BODY
        if head:
            wire.write(head)
        try:
            await wire.send_file(file, offset, count)
        except ResponseError:
            wire.break_off(self, "a file ended early")
            raise
        if self.gone:
            await self._refused()
        self.sent += count
        if not more:
            self._finish()

    async def _copy_range(self, file: int, offset: int, count: int, more: bool) -> None:
        wire = self._wire
        while count:
            data = await wire.read_file(file, offset, min(count, FILE_BLOCK))
            if self.gone:
                await self._refused()
            if not data:
                if self._http.head_sent:
                    wire.break_off(self, "a file ended early")
                raise ResponseError("the file ended before the promised count of bytes")
            offset += len(data)
            count -= len(data)
            self._write(data, more or count > 0)
            if wire.write_paused:
                await wire.drained()
                if self.gone and self.stage != DONE:
                    await self._refused()

    def _misplaced(self, kind: str) -> str:
        if self.stage == NOTHING:
            return f"{kind} was sent before http.response.start"
        if self.stage in (DONE, TRAILERS):
            return f"{kind} was sent after the response was complete"
        return f"{kind} was sent after the body began, or without `trailers` in http.response.start"


def _bytes_of(data: object) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise ResponseError(f"expected bytes, got {type(data).__name__}")


def _shown(message: object) -> str:
    """A message for people: its type and keys, never its contents."""
    if isinstance(message, dict):
        return f"type {message.get('type')!r}, keys {sorted(map(str, message))}"
    return type(message).__name__
