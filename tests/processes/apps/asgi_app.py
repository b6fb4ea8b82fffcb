"""The ASGI application of the process tests; `acts` tells what each address does."""

import asyncio
import os
from pathlib import Path

from acts import act

VERSION = "one"


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    path, query = scope["path"], scope["query_string"].decode()
    if path == "/hold":
        Path(query + ".started").touch()
        while not Path(query + ".go").exists():
            await asyncio.sleep(0.01)
    elif path == "/length":
        query = str(await length(receive))
    elif path == "/echo":
        await echo(receive, send)
        return
    elif path == "/stream":
        await stream(int(query), send)
        return
    more = await asyncio.to_thread(act, path, query)
    body = f"pid={os.getpid()} version={VERSION} path={path}{more}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def length(receive):
    total, more = 0, True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        total += len(message.get("body", b""))
    return total


async def echo(receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


async def stream(parts, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(parts):
        await send({"type": "http.response.body", "body": b"part %d\n" % number, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
