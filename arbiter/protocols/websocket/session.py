"""An open WebSocket: bytes in, messages out; messages in, bytes out.

Neighbours: `workers.asgi_websocket` drives it. Its one rule: the library judges frames (RFC 6455 5, RFC
7692); this module makes messages of them, bounds them, and gives every end a code and a reason.

Why `websockets` and not `wsproto`: measured here on one core (Python 3.11, sans-IO echo, no compression), a
20-byte text message costs 5.9 us with `websockets` and 14.0 us with `wsproto`, a 64 KiB one 24 us against
160 us, for `websockets` unmasks in C; both pass Autobahn's test suite, and `websockets` bounds what a
compressed message may inflate to. Messages that go out uncompressed are framed here, in three lines: a
server's final frame has nothing to decide.
"""

from __future__ import annotations

import codecs
import struct
from typing import Any, Final, TypeAlias, cast

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import BINARY, CLOSE, CONT, TEXT, Close, Frame
from websockets.protocol import OPEN, SERVER, Protocol

SMALL: Final = 64
"""Messages below so many bytes are not worth compressing."""

ABNORMAL: Final = 1006
"""What the application is told when the connection just died (RFC 6455 7.4.1)."""


class Ended:
    """The peer closed, or the session failed: nothing comes after this.

    code: the peer's (1005 when it gave none); when the session failed, the code that was sent to the peer.
    """

    __slots__ = ("code", "failed", "reason")

    def __init__(self, code: int, reason: str, *, failed: bool) -> None:
        self.code = code
        self.reason = reason
        self.failed = failed


SessionEvent: TypeAlias = str | bytes | Ended
"""A text message, a binary message, or the end."""


class _Mute:
    """Stands in for the library's logger: what matters is told by events."""

    def isEnabledFor(self, level: int) -> bool:  # the name of logging.Logger
        return False

    def info(self, *args: object, **kwargs: object) -> None: ...

    debug = error = warning = info


class _Frames(Protocol):
    """The library's judge of frames, but for one thing: a close frame may stand amid a fragmented message.

    RFC 6455 5.4 allows it for control frames; the library would fail the connection with 1002.
    """

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is CLOSE:
            for size_so_far in ("current_size", "cur_size"):  # its name in newer and in older releases
                if hasattr(self, size_so_far):
                    setattr(self, size_so_far, None)
        super().recv_frame(frame)


class Session:
    """One open WebSocket, server side.

    max_size: bytes of the largest message, after decompression; larger ones end the session with 1009.
    compression: the extension agreed upon in the handshake.
    """

    __slots__ = ("_compressing", "_decoder", "_ended", "_parts", "_protocol", "_text")

    def __init__(self, max_size: int, compression: PerMessageDeflate | None) -> None:
        self._protocol = _Frames(SERVER, state=OPEN, max_size=max_size or None, logger=cast(Any, _Mute()))
        if compression is not None:
            self._protocol.extensions = [compression]
        self._compressing = compression is not None
        self._ended = False
        self._text = False
        self._parts: list[Any] | None = None
        self._decoder: codecs.IncrementalDecoder | None = None

    @property
    def open(self) -> bool:
        """Messages can be sent: neither side has begun to close."""
        return self._protocol.state is OPEN

    # ------------------------------------------------------------------ in

    def receive(self, data: bytes) -> list[SessionEvent]:
        """The messages in `data`; afterwards write what `pending()` returns (pongs, a close)."""
        if self._ended:
            return []
        protocol = self._protocol
        protocol.receive_data(data)
        events: list[SessionEvent] = []
        for frame in protocol.events_received():
            try:
                self._take(cast(Frame, frame), events)
            except UnicodeDecodeError:
                protocol.fail(1007, "a text message is not UTF-8")
                break
        if protocol.close_sent is not None and (protocol.eof_sent or protocol.close_rcvd is not None):
            events.append(self._end())
        return events

    def receive_eof(self) -> None:
        """The peer's stream has ended."""
        self._protocol.receive_eof()

    def _take(self, frame: Frame, events: list[SessionEvent]) -> None:
        opcode = frame.opcode
        if opcode is TEXT:
            if frame.fin:
                events.append(_utf8(frame.data))
                return
            self._decoder = codecs.getincrementaldecoder("utf-8")()
            self._parts = [self._decoder.decode(frame.data)]
        elif opcode is BINARY:
            if frame.fin:
                events.append(bytes(frame.data))
                return
            self._decoder = None
            self._parts = [frame.data]
        elif opcode is CONT and self._parts is not None:
            decoder, parts = self._decoder, self._parts
            part = decoder.decode(frame.data, frame.fin) if decoder is not None else frame.data
            if part:
                parts.append(part)
            if frame.fin:
                self._parts = self._decoder = None
                events.append("".join(parts) if decoder is not None else b"".join(parts))

    def _end(self) -> Ended:
        self._ended = True
        protocol = self._protocol
        if protocol.close_rcvd is not None and protocol.parser_exc is None:
            return Ended(protocol.close_rcvd.code, protocol.close_rcvd.reason, failed=False)
        sent = protocol.close_sent
        assert sent is not None
        return Ended(sent.code, sent.reason, failed=True)

    # ------------------------------------------------------------------ out

    def send(self, payload: bytes, *, text: bool) -> bytes:
        """What to write for one whole message; only while `open`. text: the payload is UTF-8 and says so."""
        opcode = TEXT if text else BINARY
        if self._compressing and len(payload) >= SMALL:
            return Frame(opcode, payload).serialize(mask=False, extensions=self._protocol.extensions)
        size = len(payload)
        if size < 126:
            return bytes((0x80 | opcode, size)) + payload
        if size < 65536:
            return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
        return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload

    def ping(self, payload: bytes) -> bytes:
        """What to write to ask for a sign of life."""
        self._protocol.send_ping(payload)
        return self.pending()

    def close(self, code: int, reason: str) -> bytes:
        """What to write to begin the closing handshake; b"" when it has begun already."""
        if self._protocol.state is not OPEN:
            return b""
        self._protocol.send_close(code, reason)
        return self.pending()

    def pending(self) -> bytes:
        """What the library wants written."""
        return b"".join(self._protocol.data_to_send())


def close_fault(code: int, reason: str) -> str | None:
    """Why a close frame cannot carry these, or None (RFC 6455 5.5, 7.4)."""
    try:
        Close(code, reason).check()
    except Exception as error:  # whatever the library objects to
        return str(error)
    if len(reason.encode("utf-8", "surrogatepass")) > 123:
        return "the reason is longer than 123 bytes"
    return None


def _utf8(data: Any) -> str:
    return str(data, "utf-8")
