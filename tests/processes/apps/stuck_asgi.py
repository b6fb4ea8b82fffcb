"""An ASGI application with every way of not coming back."""

import asyncio
import ctypes
import os
import time

import arbiter


async def application(scope, receive, send):
    assert scope["type"] == "http"
    path = scope["path"]
    if path == "/sleep":
        time.sleep(1000)
    elif path == "/block":
        time.sleep(2.5)
    elif path == "/c-code":
        sum(range(10**12))
    elif path == "/loop":
        while True:
            pass
    elif path == "/slow":
        await asyncio.sleep(3)
    elif path == "/export":
        assert await asyncio.to_thread(arbiter.extend_deadline, 60)
        await asyncio.sleep(3)
    elif path == "/exit":
        os._exit(3)
    elif path == "/crash":
        ctypes.string_at(0)
    body = b"pid=%d\n" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
