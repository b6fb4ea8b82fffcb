"""Small ASGI applications, and the pieces they are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def http_only(app: App) -> App:
    """Refuse everything but HTTP, as applications without a lifespan do."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("no lifespan here")
        await app(scope, receive, send)

    return wrapped


def start(status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(data: Any = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def answer(send: Send, data: bytes = b"ok", status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    await send(start(status, *headers))
    await send(body(data))


async def read_body(receive: Receive) -> tuple[bytes, bool]:
    """The request's body, and whether it was complete."""
    data = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return data, False
        data += message["body"]
        if not message["more_body"]:
            return data, True


@http_only
async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"Hello, world!")


@http_only
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    data, complete = await read_body(receive)
    if complete:
        await answer(send, data)
