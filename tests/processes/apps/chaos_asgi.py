"""The ASGI application of the chaos: a few milliseconds of waiting, or trouble."""

import asyncio
import os

from trouble import trouble

VERSION = "1"


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    trouble(scope["path"], scope["query_string"].decode())
    await asyncio.sleep(0.002)
    body = f"pid={os.getpid()} version={VERSION}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
