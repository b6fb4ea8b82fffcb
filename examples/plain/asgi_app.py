"""ASGI with nothing else: `arbiter asgi_app:application`. Try / , /echo (it reads the body) and /stream."""

import asyncio
import os


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "http":
        await pages.get(scope["path"], missing)(scope, receive, send)
    else:
        raise RuntimeError(f"no handler for {scope['type']}")


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def start(send, status=200, content_type=b"text/plain; charset=utf-8"):
    headers = [(b"content-type", content_type)]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def hello(scope, receive, send):
    await start(send)
    await send({"type": "http.response.body", "body": f"hello from worker {os.getpid()}\n".encode()})


async def echo(scope, receive, send):
    await start(send, content_type=b"application/octet-stream")
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


async def stream(scope, receive, send):
    await start(send)
    for number in range(1, 11):
        await send({"type": "http.response.body", "body": b"part %d\n" % number, "more_body": True})
        await asyncio.sleep(0.1)
    await send({"type": "http.response.body"})


async def missing(scope, receive, send):
    await start(send, 404)
    await send({"type": "http.response.body", "body": b"nothing here\n"})


pages = {"/": hello, "/echo": echo, "/stream": stream}
