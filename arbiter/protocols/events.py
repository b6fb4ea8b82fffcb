"""The vocabulary between the bytes of a connection and whatever answers them.

Neighbours: produced by `http1.connection`, consumed by the dispatchers of `arbiter.workers` and turned into
scopes and environs by `arbiter.gateways`. Its one rule: an event is a plain slotted record; it knows
neither how it was parsed nor who will serve it.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple, TypeAlias


class Field(NamedTuple):
    """One header field, validated once and shared between requests (it is cached by its raw line).

    pair: (lower-cased name, value without surrounding OWS), byte-exact, as ASGI wants it.
    kind: one of `FieldKind`'s numbers; 0 for a field that HTTP framing does not care for.
    key: the CGI/WSGI environ key ("HTTP_ACCEPT", "CONTENT_TYPE"), "" for a field that must not reach an
         environ (`Proxy`, RFC 3875's httpoxy).
    text: the value decoded as latin-1, as PEP 3333 wants it.
    """

    pair: tuple[bytes, bytes]
    kind: int
    key: str
    text: str


class Kept:
    """What was made of field lines that come again: a place for the gateway and one for the worker's access
    log, of which there is one. None at first.
    """

    __slots__ = ("gateway", "log")

    def __init__(self) -> None:
        self.gateway: Any = None
        self.log: Any = None


class Request:
    """The head of a request; `ended` tells that no body follows (no `Data`, no `EndOfBody`).

    Nobody changes what one says: the next request of a connection, if it is the same, may be the same object.
    """

    __slots__ = (
        "chunked",
        "ended",
        "expect_continue",
        "fields",
        "forwarded",
        "keep_alive",
        "kept",
        "length",
        "method",
        "path",
        "query",
        "target",
        "upgrade",
        "version",
    )

    method: str
    """As on the wire ("GET"); case-sensitive."""
    target: bytes
    """The request-target as on the wire."""
    path: bytes
    """The undecoded path: of the origin-form or of an absolute-form target; b"*" for the asterisk-form."""
    query: bytes
    """What follows the first "?", undecoded; b"" if nothing."""
    version: str
    """"1.0" or "1.1"."""
    fields: list[Field]
    """In the order of the wire; an absolute-form target has already replaced Host (RFC 9112 3.2.2)."""
    forwarded: bool
    """Some field is of `FieldKind.FORWARDING`: worth asking `peer.forwarded` who the client is."""
    length: int
    """The Content-Length; 0 when there is no body, -1 when the body is chunked."""
    chunked: bool
    """The body is chunked."""
    keep_alive: bool
    """What the client asks for; the response may still close."""
    expect_continue: bool
    """The client waits for `100 Continue` before it sends the body (HTTP/1.1 only)."""
    upgrade: bytes
    """The lower-cased value of Upgrade when Connection names it, else b""."""
    ended: bool
    """The request is complete: it has no body."""

    kept: Kept | None
    """Shared by the requests of a connection whose field lines were the same; None for any other."""

    def with_fields(self, fields: list[Field]) -> Request:
        """A request like this one, but for its fields."""
        request = Request()
        for name in self.__slots__:
            setattr(request, name, getattr(self, name))
        request.fields = fields
        request.kept = None
        return request


class Data:
    """A part of the decoded request body; never empty."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class EndOfBody:
    """The body is complete; its trailer fields, already checked, are in `trailers`."""

    __slots__ = ("trailers",)

    def __init__(self, trailers: list[Field]) -> None:
        self.trailers = trailers


class BadRequest:
    """The peer broke the protocol: answer with `status`, then close. The connection parses nothing more.

    reason: a short, fixed text for the client and for counting ("bad chunk size"), free of peer bytes.
    detail: what the log may add (may quote the peer, escaped).
    """

    __slots__ = ("detail", "reason", "status")

    def __init__(self, status: int, reason: str, detail: str = "") -> None:
        self.status = status
        self.reason = reason
        self.detail = detail


class Gone:
    """The peer ended its sending side. `clean` is False when a request was cut in the middle."""

    __slots__ = ("clean",)

    def __init__(self, clean: bool) -> None:
        self.clean = clean


Event: TypeAlias = Request | Data | EndOfBody | BadRequest | Gone


class FieldKind(enum.IntEnum):
    """The fields HTTP/1.x itself reads; everything else is OTHER."""

    OTHER = 0
    CONTENT_LENGTH = 1
    TRANSFER_ENCODING = 2
    CONNECTION = 3
    EXPECT = 4
    HOST = 5
    UPGRADE = 6
    SECRET = 7
    """Cookie, Authorization, API keys and tokens: never kept in a cache shared between requests."""
    FORWARDING = 8
    """Forwarded and X-Forwarded-*: what a proxy says about the client."""
    UNDERSCORE = 9
    """The name holds `_`, so its environ key could be taken for another field's; see `limits.Underscores`."""
