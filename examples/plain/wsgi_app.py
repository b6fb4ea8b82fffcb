"""WSGI with nothing else: `arbiter wsgi_app:application`. Try / , /echo (it reads the body) and /stream."""

import os
import time


def application(environ, start_response):
    return pages.get(environ["PATH_INFO"], missing)(environ, start_response)


def hello(environ, start_response):
    body = f"hello from worker {os.getpid()}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return iter(lambda: environ["wsgi.input"].read(65536), b"")


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    for number in range(1, 11):
        yield b"part %d\n" % number
        time.sleep(0.1)


def missing(environ, start_response):
    start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"nothing here\n"]


pages = {"/": hello, "/echo": echo, "/stream": stream}
