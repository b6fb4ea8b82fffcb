"""A connection without a network: what a whole exchange looks like from either side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from arbiter.protocols.events import BadRequest, Data, EndOfBody, Event, Gone, Request
from arbiter.protocols.http1.connection import Http1Connection, ResponseDefaults
from arbiter.protocols.limits import Limits

DATE = b"Sat, 21 Nov 2026 13:00:00 GMT"


def connection(limits: Limits | None = None, *, server: bytes = b"arbiter", **bounds: Any) -> Http1Connection:
    """A fresh connection; `bounds` are fields of `Limits`."""
    return Http1Connection(limits or Limits(**bounds), ResponseDefaults(server, DATE))


def head(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"Host: example.com") -> bytes:
    """The bytes of a request head, by default with a Host."""
    first = [line] if host is None else [line, host]
    return b"\r\n".join([*first, *fields, b"", b""])


def request(*fields: bytes, line: bytes = b"GET / HTTP/1.1", **bounds: Any) -> Request:
    """Parse one good head."""
    [event, *_] = connection(**bounds).receive(head(*fields, line=line))
    assert isinstance(event, Request), (event.status, event.reason)  # type: ignore[union-attr]
    return event


def refusal(data: bytes, **bounds: Any) -> tuple[int, str]:
    """The status and reason for which a stream is refused."""
    events = connection(**bounds).receive(data)
    [bad] = [event for event in events if isinstance(event, BadRequest)]
    assert events[-1] is bad
    return bad.status, bad.reason


def serving(
    *fields: bytes, line: bytes = b"GET / HTTP/1.1", rest: bytes = b"", **bounds: Any
) -> Http1Connection:
    """A connection that has just given out a request and waits for the answer."""
    conn = connection(**bounds)
    [event, *_] = conn.receive(head(*fields, line=line) + rest)
    assert isinstance(event, Request)
    return conn


def answer(conn: Http1Connection, body: bytes = b"ok") -> bytes:
    """The smallest answer."""
    conn.respond(200, [])
    return conn.body(body, False)


def story(events: Iterable[Event]) -> Iterator[tuple[Any, ...]]:
    """Events as values to compare; neighbouring `Data` are one."""
    body = b""
    for event in events:
        if isinstance(event, Data):
            assert event.data
            body += event.data
            continue
        if body:
            yield "data", body
            body = b""
        yield _told(event)
    if body:
        yield "data", body


def _told(event: Event) -> tuple[Any, ...]:
    if isinstance(event, Request):
        return (
            "request",
            *(getattr(event, name) for name in Request.__slots__ if name not in ("fields", "kept")),
            [field.pair for field in event.fields],
        )
    if isinstance(event, EndOfBody):
        return "end", [field.pair for field in event.trailers]
    if isinstance(event, BadRequest):
        return "bad", event.status, event.reason
    assert isinstance(event, Gone)
    return "gone", event.clean


def conversation(pieces: Iterable[bytes], **bounds: Any) -> tuple[list[Event], bytes]:
    """Feed the pieces and the end; answer each request once it is complete. All events, all bytes written."""
    conn = connection(**bounds)
    events: list[Event] = []
    written = b""
    for piece in pieces:
        written += converse(conn, conn.receive(piece), events)
    written += converse(conn, conn.receive_eof(), events)
    return events, written


def converse(conn: Http1Connection, new: list[Event], events: list[Event]) -> bytes:
    """Answer what is complete in the `new` events, and what comes of that; they are added to `events`."""
    written = b""
    while new:
        events.extend(new)
        last = new[-1]
        new = []
        if isinstance(last, BadRequest):
            written += conn.refuse(last)
        elif isinstance(last, EndOfBody) or (isinstance(last, Request) and last.ended):
            written += answer(conn)
            if conn.keep_alive:
                new = conn.next_request()
    return written
