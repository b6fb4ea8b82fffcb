"""What the servers serve: the least that an application can do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

BODY = b"Hello, world!\n"
FIELDS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(name.lower().encode(), value.encode()) for name, value in FIELDS],
}


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """WSGI."""
    start_response("200 OK", FIELDS)
    return [BODY]


async def asgi(
    scope: dict[str, Any], receive: Callable[[], Awaitable[object]], send: Callable[..., Awaitable[None]]
) -> None:
    """ASGI, without a lifespan."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send(START)
    await send({"type": "http.response.body", "body": BODY})
