"""h11 beside us: what it makes of the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h11

from arbiter.protocols.events import Data, EndOfBody, Event, Request

Complete = list[tuple[bytes, bytes, bytes]]
"""(method, target, body) of each complete request."""


def read_by_h11(data: bytes) -> tuple[list[Any], str]:
    """(the events of each request in turn, "" or why h11 stopped)."""
    conn = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    conn.receive_data(data)
    conn.receive_data(b"")
    events: list[Any] = []
    try:
        while True:
            event = conn.next_event()
            if event is h11.PAUSED:
                conn.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
                conn.send(h11.EndOfMessage())
                conn.start_next_cycle()
                continue
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return events, ""
            events.append(event)
            if isinstance(event, h11.EndOfMessage):
                conn.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
                conn.send(h11.EndOfMessage())
                if conn.our_state is not h11.DONE or conn.their_state is not h11.DONE:
                    return events, ""
                conn.start_next_cycle()
    except h11.RemoteProtocolError as error:
        return events, str(error) or "refused"


def bodies(events: Sequence[Event] | Sequence[Any]) -> Complete:
    """(method, target, body) of each complete request, ours or h11's."""
    complete: Complete = []
    method = target = body = b""
    open_request = False
    for event in events:
        if isinstance(event, Request | h11.Request):
            method = event.method.encode() if isinstance(event, Request) else event.method
            target, body, open_request = event.target, b"", True
            if isinstance(event, Request) and event.ended:
                complete.append((method, target, body))
                open_request = False
        elif isinstance(event, Data | h11.Data):
            body += event.data
        elif isinstance(event, EndOfBody | h11.EndOfMessage) and open_request:
            complete.append((method, target, body))
            open_request = False
    return complete


def beside_h11(events: Sequence[Event], data: bytes) -> tuple[Complete, Complete]:
    """What we completed of `data`, and as much of what h11 completed: equal, unless we are laxer.

    We are laxer on purpose in four things, where nothing is compared. BWS before a chunk extension is in the
    grammar (RFC 9112 7.1.1), not in h11's. Bytes above 0x7F in a target pass by policy. h11 skips no empty
    lines in front of a request (RFC 9112 2.2), and never keeps a connection of HTTP/1.0.
    """
    if b" ;" in data or b"\t;" in data or any(byte >= 0x80 for byte in data):
        return [], []
    theirs, refused = read_by_h11(data)
    completed = bodies(theirs)
    ours = bodies(until_http10(events))
    if refused == "no request line received":
        ours = ours[: len(completed)]
    return ours, completed[: len(ours)]


def until_http10(events: Sequence[Event]) -> list[Event]:
    """The events up to the end of the first HTTP/1.0 request."""
    kept: list[Event] = []
    last = False
    for event in events:
        if isinstance(event, Request):
            if last:
                break
            last = event.version == "1.0"
        kept.append(event)
    return kept
