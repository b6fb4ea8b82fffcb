"""A WSGI application with every way of not coming back."""

import ctypes
import os
import time

import arbiter


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/sleep":
        time.sleep(1000)
    elif path == "/c-code":
        sum(range(10**12))  # holds the interpreter's lock all the while
    elif path == "/loop":
        while True:
            pass
    elif path == "/slow":
        time.sleep(3)
    elif path == "/export":
        assert arbiter.extend_deadline(60)
        time.sleep(3)
    elif path == "/exit":
        os._exit(3)
    elif path == "/crash":
        ctypes.string_at(0)
    body = b"pid=%d\n" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
