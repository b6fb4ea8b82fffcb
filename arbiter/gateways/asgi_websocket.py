"""One WebSocket as ASGI sees it: `receive` and `send` of a single application call.

Neighbours: `workers.asgi_websocket` feeds it with messages and is the `SocketWire` it answers through. Its
one rule: the client always learns how it ended: 403 or the application's own answer before the handshake, a
close code and a reason after it; and the application hears of the end exactly once by `receive`, and by an
OSError of `send`.

Sources: asgiref specs/www.rst 2.5 (WebSocket), docs/extensions.rst (websocket.http.response).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, Protocol

from arbiter.errors import PeerGone, ResponseError
from arbiter.gateways.asgi_http import Application, Message
from arbiter.protocols.websocket.session import close_fault

# How far it is.
CONNECTING: Final = 0
DENYING: Final = 1  # websocket.http.response.start was given
OPEN: Final = 2
CLOSED: Final = 3  # denied, closed by either side, or lost

_MESSAGE_COST: Final = 64
"""Bytes counted for a held message on top of its payload, so that many empty ones count too."""


class SocketWire(Protocol):
    """What a cycle needs of its connection."""

    write_paused: bool

    async def drained(self) -> None:
        """Wait until the client has taken enough of what is queued, or is gone."""

    def accept(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Answer the handshake with 101; raises ResponseError for what cannot be answered so."""

    def deny(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Begin an HTTP answer instead; raises ResponseError for a bad one."""

    def deny_body(self, data: bytes, more: bool) -> None:
        """A part of that answer; the last one ends the connection."""

    def send_text(self, text: str) -> None: ...

    def send_bytes(self, data: bytes) -> None: ...

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""

    def messages_taken(self) -> None:
        """The application has taken what was held."""

    def app_ended(self, cycle: WebSocketCycle, error: BaseException | None) -> None:
        """The application raised, or (None) returned."""


class WebSocketCycle:
    """One call of the application for one WebSocket; `receive` and `send` are what it is given."""

    __slots__ = (
        "_connect_given",
        "_end",
        "_messages",
        "_waiters",
        "_wire",
        "closed_by_app",
        "held",
        "scope",
        "stage",
        "task",
        "touched",
    )

    def __init__(self, wire: SocketWire, scope: dict[str, Any]) -> None:
        self.scope = scope
        self.stage = CONNECTING
        self.closed_by_app = False
        self.touched = False
        """The application has used receive() or send(): it knows what a WebSocket is."""
        self.held = 0
        """Bytes of messages that the application has not taken yet."""
        self.task: asyncio.Task[None] | None = None
        self._wire = wire
        self._connect_given = False
        self._messages: deque[str | bytes] = deque()
        self._end: Message | None = None
        self._waiters: list[asyncio.Future[None]] = []

    # ------------------------------------------------------------------ what the connection calls

    def feed(self, message: str | bytes) -> None:
        """A message arrived."""
        if self.stage == OPEN:
            self._messages.append(message)
            self.held += len(message) + _MESSAGE_COST
            self._wake()

    def end(self, code: int, reason: str) -> None:
        """It is over; the first reason given counts."""
        if self._end is None:
            self._end = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self.stage = CLOSED
        self._wake()

    def _wake(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def run(self, app: Application) -> None:
        """Call the application and see that the client learns how it ended."""
        error: BaseException | None = None
        try:
            await app(self.scope, self.receive, self.send)
        except GeneratorExit:
            raise  # the loop is being torn down
        except BaseException as raised:  # SystemExit in a consumer is a failed consumer
            error = raised
        self.task = None
        self._wire.app_ended(self, error)

    # ------------------------------------------------------------------ receive

    async def receive(self) -> Message:
        """websocket.connect, then messages, then websocket.disconnect (again and again)."""
        self.touched = True
        if not self._connect_given:
            self._connect_given = True
            return {"type": "websocket.connect"}
        while True:
            if self._messages:
                return self._message(self._messages.popleft())
            if self._end is not None:
                return self._end.copy()
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def _message(self, message: str | bytes) -> Message:
        self.held -= len(message) + _MESSAGE_COST
        if not self._messages:
            self._wire.messages_taken()
        if isinstance(message, str):
            return {"type": "websocket.receive", "text": message, "bytes": None}
        return {"type": "websocket.receive", "text": None, "bytes": message}

    # ------------------------------------------------------------------ send

    async def send(self, message: Message) -> None:
        """Take one message of the application.

        Raises ResponseError for a message that breaks ASGI, PeerGone (an OSError) once the connection has
        ended. Returns when the message is written, or queued within the bounds of the transport's buffer.
        """
        self.touched = True
        try:
            self._send(message["type"], message)
        except KeyError as error:
            raise ResponseError(f"a message to send() lacks the key {error}") from None
        if self._wire.write_paused:
            await self._wire.drained()

    def _send(self, kind: str, message: Message) -> None:
        stage = self.stage
        if stage == OPEN:
            if kind == "websocket.send":
                self._send_message(message)
            elif kind == "websocket.close":
                self._close(message)
            else:
                raise ResponseError(f"expected websocket.send or websocket.close, got {kind!r}")
        elif stage == CONNECTING:
            self._answer(kind, message)
        elif stage == DENYING:
            if kind != "websocket.http.response.body":
                raise ResponseError(f"expected websocket.http.response.body, got {kind!r}")
            self._deny_body(message)
        elif self.closed_by_app:
            raise ResponseError(f"{kind!r} was sent after websocket.close")
        elif (
            kind != "websocket.close"
        ):  # closing what is closed already is no mistake: nobody can know in time
            raise PeerGone("the WebSocket is closed")

    def _send_message(self, message: Message) -> None:
        data = message.get("bytes")
        text = message.get("text")
        if (data is None) == (text is None):
            raise ResponseError("websocket.send needs exactly one of `bytes` and `text`")
        if text is not None:
            if not isinstance(text, str):
                raise ResponseError(f"websocket.send: `text` is a str, not {type(text).__name__}")
            self._wire.send_text(text)
        else:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise ResponseError(f"websocket.send: `bytes` is bytes, not {type(data).__name__}")
            self._wire.send_bytes(bytes(data))

    def _close(self, message: Message) -> None:
        code = message.get("code", 1000)
        code = 1000 if code is None else code
        reason = message.get("reason") or ""
        if not isinstance(code, int) or not isinstance(reason, str):
            raise ResponseError("websocket.close: `code` is an int and `reason` a str")
        fault = close_fault(code, reason)
        if fault is not None:
            raise ResponseError(f"websocket.close with code {code}: {fault}")
        self.closed_by_app = True
        self._messages.clear()
        self._wire.close(code, reason)
        self.end(code, reason)

    def _answer(self, kind: str, message: Message) -> None:
        """The first thing an application says decides the handshake."""
        if kind == "websocket.accept":
            self._wire.accept(message.get("subprotocol"), message.get("headers", ()))
            self.stage = OPEN
        elif kind == "websocket.close":
            self.closed_by_app = True
            self._wire.deny(403, [(b"content-type", b"text/plain; charset=utf-8")])
            self._wire.deny_body(b"403 Forbidden\n", False)
            self.end(1006, "")
        elif kind == "websocket.http.response.start":
            self._wire.deny(message["status"], message.get("headers", ()))
            self.stage = DENYING
        else:
            raise ResponseError(f"expected websocket.accept, websocket.close or a response, got {kind!r}")

    def _deny_body(self, message: Message) -> None:
        more = bool(message.get("more_body", False))
        self._wire.deny_body(message.get("body", b""), more)
        if not more:
            self.closed_by_app = True
            self.end(1006, "")
