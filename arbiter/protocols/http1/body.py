"""The two framings of a request body: Content-Length and chunked.

Neighbours: `connection` makes one decoder per request with a body and feeds it; `fields` judges trailers.
Its one rule: a body is complete only when its framing says so to the letter (RFC 9112 6.2, 7.1); every
other end is a refusal or a wait for more, never a shorter body.
"""

from __future__ import annotations

import re
from typing import Final

from arbiter.protocols.events import Data, Event, Field, FieldKind
from arbiter.protocols.fields import FORWARDING, SECRET, UNDERSCORE, Refusal, parse_field
from arbiter.protocols.http1.head import scan_trailers
from arbiter.protocols.limits import Limits

_size_line = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n").match
"""The common chunk-size line; 16 digits are 2**64 - 1 bytes, more than any body."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_extended_size_line = re.compile(
    rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED)
).fullmatch
"""chunk-size with chunk-ext (RFC 9112 7.1.1); white space only where the grammar has BWS."""

_FRAMING_FIELDS = frozenset({FieldKind.CONTENT_LENGTH, FieldKind.TRANSFER_ENCODING, FieldKind.HOST})
_NOT_A_TRAILER = frozenset(
    {
        *(b"cache-control", b"connection", b"content-encoding", b"content-range", b"content-type", b"expect"),
        *(b"keep-alive", b"max-forwards", b"pragma", b"proxy", b"proxy-connection", b"range", b"set-cookie"),
        *(b"te", b"trailer", b"upgrade"),
    }
)
"""Names that RFC 9110 6.5.1 keeps out of trailers: framing, routing, request modifiers, authentication."""


class LengthBody:
    """A body of exactly `left` more bytes (RFC 9112 6.2)."""

    __slots__ = ("left",)

    trailers: Final[list[Field]] = []

    def __init__(self, length: int) -> None:
        self.left = length

    def feed(self, data: bytes, events: list[Event]) -> bytes | None:
        """Add what `data` holds of the body to `events`; what follows the body, None when it goes on."""
        left = self.left
        size = len(data)
        if size < left:
            self.left = left - size
            if size:
                events.append(Data(data))
            return None
        self.left = 0
        if size == left:
            events.append(Data(data))
            return b""
        events.append(Data(data[:left]))
        return data[left:]


class ChunkedBody:
    """A chunked body (RFC 9112 7.1). `left` is always -1: nobody knows how much is to come."""

    __slots__ = ("_chunk_left", "_held", "_in_data", "_limits", "_scanned", "_size", "_trailing", "trailers")

    left: Final = -1

    def __init__(self, limits: Limits) -> None:
        self.trailers: list[Field] = []
        self._limits = limits
        self._held = b""
        self._in_data = False  # inside a chunk, or before the CRLF that ends it
        self._chunk_left = 0
        self._trailing = False
        self._scanned = 0  # of the trailer section: where its first incomplete line starts
        self._size = 0

    def feed(self, data: bytes, events: list[Event]) -> bytes | None:
        """Add what `data` holds of the body to `events`, as one `Data`; what follows the body, or None.

        Raises `Refusal`; what was decoded before the fault is in `events` even then.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        parts: list[bytes] = []
        try:
            return self._decode(data, parts)
        finally:
            if parts:
                events.append(Data(parts[0] if len(parts) == 1 else b"".join(parts)))

    def _decode(self, data: bytes, parts: list[bytes]) -> bytes | None:
        position = 0
        while not self._trailing:
            if self._in_data:
                position = self._take_data(data, position, parts)
                if self._in_data:
                    self._held = data[position:]
                    return None
            match = _size_line(data, position)
            if match is not None:
                position = match.end()
                self._begin_chunk(match[1])
            else:
                newline = self._take_unusual_size_line(data, position)
                if newline < 0:
                    self._held = data[position:]
                    return None
                position = newline + 1
        return self._take_trailers(data[position:])

    def _take_data(self, data: bytes, position: int, parts: list[bytes]) -> int:
        """Take chunk data and the CRLF after it; leaves `_in_data` set while any of them is missing."""
        left = self._chunk_left
        if left:
            part = data[position : position + left]
            if part:
                parts.append(part)
                position += len(part)
                left = self._chunk_left = left - len(part)
            if left:
                return position
        ending = data[position : position + 2]
        if ending == b"\r\n":
            self._in_data = False
            return position + 2
        if ending not in (b"", b"\r"):
            raise Refusal(400, "chunk data not followed by CRLF")
        return position

    def _take_unusual_size_line(self, data: bytes, position: int) -> int:
        """A size line with extensions, or a bad or incomplete one; the index of its LF, -1 if incomplete."""
        newline = data.find(b"\n", position, position + self._limits.chunk_line + 2)
        if newline < 0:
            if len(data) - position >= self._limits.chunk_line + 2:
                raise Refusal(400, "chunk-size line too long")
            return -1
        line = data[position:newline]
        match = _extended_size_line(line[:-1])
        if line[-1:] != b"\r" or match is None:
            raise Refusal(400, "bad chunk size", line)
        self._begin_chunk(match[1])
        return newline

    def _begin_chunk(self, digits: bytes) -> None:
        size = int(digits, 16)
        if not size:
            self._trailing = True
            return
        self._size += size
        if self._limits.body and self._size > self._limits.body:
            raise Refusal(413, "request body too large")
        self._chunk_left = size
        self._in_data = True

    def _take_trailers(self, data: bytes) -> bytes | None:
        if data[:2] == b"\r\n":
            return data[2:]
        end, self._scanned = scan_trailers(data, self._scanned, self._limits)
        if end < 0:
            self._held = data
            return None
        lines = data[: end - 2].split(b"\r\n")
        if len(lines) > self._limits.fields:
            raise Refusal(431, "too many trailer fields")
        for line in lines:
            field = parse_field(line)
            if field.kind in _FRAMING_FIELDS:
                raise Refusal(400, "framing field in trailers")
            if field.kind not in (SECRET, FORWARDING, UNDERSCORE) and field.pair[0] not in _NOT_A_TRAILER:
                self.trailers.append(field)
        return data[end + 2 :]
