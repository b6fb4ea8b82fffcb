"""What both probe applications share: a record of calls, the worker's own state, answers made to order.

/calls           tells which requests the application was called for since the last time, and forgets them
/state           tells how many threads and (asgi) tasks the worker has
/ignore          answers without reading the request's body
/hold?NAME       makes NAME.started, then waits for NAME.go, then answers; reads nothing
/seen            reads the body, then tells what the application was given
/big?N           N bytes, in parts of 64 KiB, without a Content-Length
/order?JSON      answers as the JSON says: status, headers, parts, "times" (of what each part consists), and
                 "fail": "before" or "after" the parts

Everything else is answered as /ignore is.
"""

import gc
import json
import threading
import urllib.parse

PART = b"x" * 65536
calls = []


class Deliberate(Exception):
    """What /order raises."""


def called(method, path):
    """Keep a record of it; None, or the answer if the record is asked for."""
    if path == "/calls":
        told, calls[:] = json.dumps(calls), []
        return told.encode()
    calls.append(f"{method} {path}")
    return None


def state(tasks):
    gc.collect()
    return json.dumps({"threads": threading.active_count(), "tasks": tasks}).encode()


def order(query):
    """The answer that is wished for."""
    wish = json.loads(urllib.parse.unquote(query))
    headers = [(name, value) for name, value in wish.get("headers", [])]
    parts = [part.encode("latin-1") * wish.get("times", 1) for part in wish.get("parts", ["made to order"])]
    return wish.get("status", 200), headers, parts, wish.get("fail", "")


def big(size):
    """Parts that add up to `size`."""
    while size > 0:
        yield PART[:size]
        size -= len(PART)
