"""Small WSGI applications, and how tests wait for and compare what they do."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable
from typing import Any

from tests.fakes.workers import Served

App = Callable[..., Any]


def hello(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def echo(environ: Any, start_response: Any) -> Any:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Length", environ.get("CONTENT_LENGTH", "none"))])
    return [body]


def show(*names: str) -> App:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return ["\n".join(repr(environ.get(name)) for name in names).encode()]

    return app


def seen(body: bytes) -> list[str]:
    return body.decode().split("\n")


def descriptors() -> set[int]:
    """What this process has open."""
    found = set()
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the one that listdir used
            os.fstat(int(name))
            found.add(int(name))
    return found


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something another thread is about to do."""
    limit = time.monotonic() + Served.LIMIT
    while not condition():
        assert time.monotonic() < limit, "it does not happen"
        select.select([], [], [], 0.005)


def same(got: bytes, wanted: bytes) -> bool:
    """Compared here, so that a failure does not print megabytes."""
    return got == wanted
