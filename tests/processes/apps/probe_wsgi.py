"""The WSGI application of the tests of robustness and conformance; `probe` tells what each address does."""

import json
import time
from pathlib import Path

import probe


def application(environ, start_response):
    method, path, query = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]
    body = probe.called(method, path)
    if body is not None:
        pass
    elif path == "/state":
        body = probe.state(0)
    elif path == "/hold":
        Path(query + ".started").touch()
        while not Path(query + ".go").exists():
            time.sleep(0.01)
        body = b"held"
    elif path == "/seen":
        body = seen(environ)
    elif path == "/big":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return probe.big(int(query))
    elif path == "/order":
        return ordered(query, start_response)
    else:
        body = b"ok"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def ordered(query, start_response):
    status, headers, parts, fail = probe.order(query)
    if fail == "before":
        raise probe.Deliberate("before the parts")
    start_response(f"{status} Made to order" if isinstance(status, int) else status, headers)
    yield from parts
    if fail == "after":
        raise probe.Deliberate("after the parts")


def seen(environ):
    body = b"".join(iter(lambda: environ["wsgi.input"].read(65536), b""))
    fields = {
        key.removeprefix("HTTP_").replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    told = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "raw": environ["RAW_URI"],
        "query": environ["QUERY_STRING"],
        "version": environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
        "scheme": environ["wsgi.url_scheme"],
        "client": environ["REMOTE_ADDR"],
        "fields": fields,
        "body": body.decode("latin-1"),
    }
    return json.dumps(told).encode()
