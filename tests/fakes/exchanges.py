"""Requests and exchanges, made by hand."""

from __future__ import annotations

import time
from typing import Any

from arbiter.observe.access import Exchange, Records
from arbiter.protocols.events import Field, Request

SECOND = 1_000_000_000


def field(name: str, value: str) -> Field:
    """A request field as the parser makes it."""
    key = "HTTP_" + name.upper().replace("-", "_")
    return Field((name.lower().encode("latin-1"), value.encode("latin-1")), 0, key, value)


def request(target: str = "/things/7?color=blue", **changes: Any) -> Request:
    """A GET with two fields."""
    made = Request()
    made.method = "GET"
    made.target = target.encode("latin-1")
    made.path, _, made.query = made.target.partition(b"?")
    made.version = "1.1"
    made.keep_alive = made.ended = True
    made.forwarded = made.chunked = made.expect_continue = False
    made.length, made.upgrade, made.kept = 0, b"", None
    made.fields = [field("Referer", "https://example.org/"), field("User-Agent", "curl/8")]
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def exchange(asked: Request | None = None, *, began: float | None = None, **changes: Any) -> Exchange:
    """A good one of 1.23 s; `began` in wall-clock seconds."""
    started = time.monotonic_ns() - 5 * SECOND
    if began is not None:
        started = time.monotonic_ns() - time.time_ns() + int(began * SECOND)
    made = Exchange(
        request=asked or request(),
        peer="192.0.2.7",
        scheme="http",
        status=200,
        sent=512,
        started=started,
        ended=started + 1_234_567_890,
        headers=[(b"Content-Type", b"text/html"), (b"X-Cache", b"hit")],
    )
    return made._replace(**changes)


class Keeper(Records):
    """Where an access log's lines go, to be looked at as what they were made of."""

    def __init__(self, kept: list[Exchange]) -> None:
        self._kept = kept

    def __call__(self, line: str, parts: tuple[Any, ...]) -> None:
        self._kept.append(Exchange(*parts))
