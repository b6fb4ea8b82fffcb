"""The WSGI application of the process tests; `acts` tells what each address does."""

import os
import time
from pathlib import Path

from acts import act

VERSION = "one"


def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/hold":
        Path(query + ".started").touch()
        while not Path(query + ".go").exists():
            time.sleep(0.01)
    elif path == "/echo":
        start_response("200 OK", [])
        return iter(lambda: environ["wsgi.input"].read(65536), b"")
    elif path == "/length":
        query = str(sum(map(len, iter(lambda: environ["wsgi.input"].read(65536), b""))))
    elif path == "/stream":
        start_response("200 OK", [])
        return (b"part %d\n" % number for number in range(int(query)))
    body = f"pid={os.getpid()} version={VERSION} path={path}{act(path, query)}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
