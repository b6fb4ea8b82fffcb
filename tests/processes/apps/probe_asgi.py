"""The ASGI application of the tests of robustness and conformance; `probe` tells what each address does."""

import asyncio
import json
from pathlib import Path

import probe


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    path, query = scope["path"], scope["query_string"].decode("latin-1")
    body = probe.called(scope["method"], path)
    if body is not None:
        pass
    elif path == "/state":
        body = probe.state(others())
    elif path == "/hold":
        Path(query + ".started").touch()
        while not Path(query + ".go").exists():
            await asyncio.sleep(0.01)
        body = b"held"
    elif path == "/seen":
        body = await seen(scope, receive)
        if body is None:
            return
    elif path == "/big":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in probe.big(int(query)):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    elif path == "/order":
        await ordered(query, send)
        return
    else:
        body = b"ok"
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def others():
    """How many tasks there are beside this one; a spare one that arbiter may keep is not counted."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    spare = sum(task.get_name() == "spare" for task in tasks)
    return len(tasks) - min(spare, 1)


async def ordered(query, send):
    status, headers, parts, fail = probe.order(query)
    if fail == "before":
        raise probe.Deliberate("before the parts")
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    if fail == "after":
        raise probe.Deliberate("after the parts")
    await send({"type": "http.response.body", "body": b""})


async def seen(scope, receive):
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        more = message["more_body"]
    fields = {}
    for name, value in scope["headers"]:
        key = name.decode()
        joint = "; " if key == "cookie" else ","
        fields[key] = (
            fields[key] + joint + value.decode("latin-1") if key in fields else value.decode("latin-1")
        )
    raw = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    told = {
        "method": scope["method"],
        "path": scope["path"],
        "raw": raw.decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "version": scope["http_version"],
        "scheme": scope["scheme"],
        "client": scope["client"][0] if scope["client"] else "",
        "fields": fields,
        "body": body.decode("latin-1"),
    }
    return json.dumps(told).encode()
