"""The opening handshake of a WebSocket: judging the request, wording the 101.

Neighbours: `workers.asgi_websocket` asks `read_offer` about a request that wants to upgrade and writes what
`acceptance` returns; `session` takes over with the extension agreed here. Its one rule: nothing is switched
before the application accepts, and nothing is agreed to that the client did not offer.

Sources: RFC 6455 4.2 and 4.4, RFC 7692 7.1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from arbiter.errors import ResponseError
from arbiter.protocols.events import Request
from arbiter.protocols.fields import CONTROLS, is_token

_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16

_OURS: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Response fields of the handshake that are the server's to set; the application's are dropped."""

_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
)
"""4 KiB windows: some 40 KB of memory per connection instead of 300, for a few percent of the gain."""


class Refused(Exception):  # a verdict, not a fault of ours
    """The request asks for a WebSocket wrongly; answer with `status`, `headers` and the message as text."""

    def __init__(self, status: int, reason: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class Offer:
    """What the client offers: key, subprotocols in the order of the wire, extensions."""

    __slots__ = ("extensions", "key", "subprotocols")

    def __init__(self, key: bytes, subprotocols: list[str], extensions: list[str]) -> None:
        self.key = key
        self.subprotocols = subprotocols
        self.extensions = extensions


def wants_websocket(request: Request) -> bool:
    """Whether a request asks for a WebSocket at all: only GET can (RFC 6455 4.1); anything else is plain
    HTTP.
    """
    protocols = [protocol.strip() for protocol in request.upgrade.split(b",")]
    return b"websocket" in protocols and request.method == "GET"


def read_offer(request: Request) -> Offer:
    """Judge an upgrade request; raises `Refused` with 426 for another version, 400 for anything malformed."""
    keys: list[bytes] = []
    versions: list[bytes] = []
    subprotocols: list[str] = []
    extensions: list[str] = []
    for field in request.fields:
        name, value = field.pair
        if not name.startswith(b"sec-websocket-"):
            continue
        if name == b"sec-websocket-key":
            keys.append(value)
        elif name == b"sec-websocket-version":
            versions.append(value)
        elif name == b"sec-websocket-protocol":
            subprotocols += _tokens(value)
        elif name == b"sec-websocket-extensions":
            extensions.append(field.text)
    if versions != [b"13"]:
        wanted = [(b"sec-websocket-version", b"13"), (b"upgrade", b"websocket")]
        raise Refused(426, "only version 13 of the WebSocket protocol is served", wanted)
    if len(keys) != 1 or not _is_key(keys[0]):
        raise Refused(400, "missing or malformed Sec-WebSocket-Key")
    if not request.ended:
        raise Refused(400, "a WebSocket handshake has no body")
    return Offer(keys[0], list(dict.fromkeys(subprotocols)), extensions)


def _tokens(value: bytes) -> list[str]:
    tokens = [token.strip(b" \t") for token in value.split(b",")]
    tokens = [token for token in tokens if token]
    if not all(map(is_token, tokens)):
        raise Refused(400, "malformed Sec-WebSocket-Protocol")
    return [token.decode("ascii") for token in tokens]


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def agree_on_compression(offer: Offer) -> tuple[str, PerMessageDeflate | None]:
    """The Sec-WebSocket-Extensions value to answer ("" for none) and the extension agreed upon.

    Raises `Refused` for an offer that cannot be read; one that cannot be met is passed over (RFC 7692 5.1).
    """
    for value in offer.extensions:
        try:
            offered = parse_extension(value)
        except InvalidHeader:
            raise Refused(400, "malformed Sec-WebSocket-Extensions") from None
        for name, parameters in offered:
            if name != _DEFLATE.name:
                continue
            try:
                agreed, extension = _DEFLATE.process_request_params(parameters, [])
            except NegotiationError:
                continue
            return build_extension([(name, agreed)]), extension
    return "", None


def acceptance(
    offer: Offer,
    subprotocol: str | None,
    extensions: str,
    headers: Iterable[tuple[bytes, bytes]],
    default_lines: bytes,
) -> bytes:
    """The 101 response; raises `ResponseError` for a subprotocol that was not offered or a malformed field.

    default_lines: Date and Server, ready for a head.
    """
    if subprotocol is not None and subprotocol not in offer.subprotocols:
        raise ResponseError(
            f"websocket.accept: subprotocol {subprotocol!r} is not among those offered: {offer.subprotocols}"
        )
    digest = base64.b64encode(hashlib.sha1(offer.key + _MAGIC, usedforsecurity=False).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n",
        b"sec-websocket-accept: %b\r\n" % digest,
    ]
    if subprotocol is not None:
        lines.append(b"sec-websocket-protocol: %b\r\n" % subprotocol.encode("ascii"))
    if extensions:
        lines.append(b"sec-websocket-extensions: %b\r\n" % extensions.encode("ascii"))
    names = {b"sec-websocket-protocol"}
    for name, value in headers:
        lowered = _checked(name, value)
        if lowered == b"sec-websocket-protocol":
            raise ResponseError("websocket.accept: give the subprotocol as `subprotocol`, not as a header")
        if lowered not in _OURS:
            names.add(lowered)
            lines.append(b"%b: %b\r\n" % (name, value))
    for line in default_lines.split(b"\r\n"):
        if line and line.partition(b":")[0] not in names:
            lines.append(line + b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def _checked(name: bytes, value: bytes) -> bytes:
    """The lower-cased name of a field that may go on the wire."""
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise ResponseError("response fields are pairs of bytes")
    if is_token(name) is None:
        raise ResponseError(f"bad name of a response field: {name[:80]!r}")
    if len(value.translate(None, CONTROLS)) != len(value):
        raise ResponseError(f"control byte in the response field {name[:80]!r}")
    return name.lower()
