"""Files, trailers and early hints."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbiter.errors import ResponseError
from tests.fakes.asgi_apps import (
    App,
    Receive,
    Scope,
    Send,
    answer,
    body,
    http_only,
    start,
)
from tests.fakes.asgi_worker import Answer, Reader, Worker, fetch, request, serving


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def once(app: App, data: bytes = b"", method: str = "GET", **settings: Any) -> tuple[Answer, Worker]:
    """One request to one worker."""
    with serving(http_only(app), **settings) as worker:
        return fetch(worker, data or request(method=method), method), worker


class Raised:
    """Catches what send() raises, in an application, for the test to look at."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.happened = threading.Event()

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.errors.append(error)
            self.happened.set()
            if isinstance(error, asyncio.CancelledError):
                raise


# ---------------------------------------------------------------- extensions


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8192)  # 2 MiB
    return path


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("sendfile", [True, False])
def test_pathsend(file: Path, length: bool, sendfile: bool, loop_kind: str) -> None:
    """asgi.md 53."""
    size = file.stat().st_size

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "http.response.pathsend" in scope["extensions"]
        await send(start(200, *([(b"content-length", str(size).encode())] if length else [])))
        await send({"type": "http.response.pathsend", "path": str(file)})

    with serving(http_only(app), sendfile=sendfile, asgi_loop=loop_kind) as worker:
        client = worker.connect()
        reader = Reader(client)
        for _ in range(2):  # the connection stays usable
            client.sendall(request())
            got = reader.answer()
            assert (got.ended, got.body == file.read_bytes()) == (True, True)
        client.sendall(request(method="HEAD") + request())
        assert reader.answer("HEAD").status == 200
        assert len(reader.answer().body) == size
        assert worker.log.at("error") == []
        assert worker.access.lines[0].sent == size


def test_pathsend_to_a_slow_reader(file: Path) -> None:
    """asgi.md 53: sendfile waits for the socket, other clients are served meanwhile."""
    file.write_bytes(bytes(32 << 20))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await answer(send)
            return
        await send(start())
        await send({"type": "http.response.pathsend", "path": str(file)})

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(request("/file"))
        reader = Reader(client)
        reader.until(b"\r\n\r\n")
        assert fetch(worker, request("/")).body == b"ok"
        assert len(reader.exactly(32 << 20)) == 32 << 20
        client.sendall(request("/"))
        assert reader.answer().body == b"ok"


def test_pathsend_misused(tmp_path: Path) -> None:
    """asgi.md 53: after start, once, not mixed; a missing file is an error."""
    raised = Raised()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = {"type": "http.response.pathsend", "path": str(tmp_path / "missing")}
        with raised.here():
            await send(path)
        await send(start())
        with raised.here():
            await send(path)
        await send(body(b"ok", more=True))
        with raised.here():
            await send(path)
        await send(body())

    got, _ = once(app)
    assert got.body == b"ok"
    assert [type(error) for error in raised.errors] == [ResponseError, FileNotFoundError, ResponseError]


def test_zerocopysend(file: Path, loop_kind: str) -> None:
    """asgi.md 54: ranges, mixed with body, the position moved, the file left open."""
    data = file.read_bytes()
    left_open: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with open(file, "rb") as handle:
            copy = {"type": "http.response.zerocopysend", "file": handle, "more_body": True}
            await send(start(200, (b"content-length", str(9 + 400_000 + 300_000 + len(data) - 100).encode())))
            await send(body(b"beginning", more=True))
            await send({**copy, "offset": 5, "count": 400_000})
            handle.seek(100)
            await send({**copy, "count": 300_000})
            left_open.append(os.lseek(handle.fileno(), 0, os.SEEK_CUR))
            await send({**copy, "offset": 100, "more_body": False})
            left_open.append(handle.fileno())
            os.fstat(handle.fileno())

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        got = fetch(worker, request())
        assert got.ended
        assert got.body == b"beginning" + data[5:400_005] + data[100:300_100] + data[100:]
    assert left_open[0] == 300_100
    assert len(left_open) == 2


def test_zerocopysend_chunked(file: Path) -> None:
    """asgi.md 54: without a length the file is read and framed."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with open(file, "rb") as handle:
            await send(start())
            await send(
                {
                    "type": "http.response.zerocopysend",
                    "file": handle.fileno(),
                    "offset": 0,
                    "more_body": True,
                }
            )
            await send(body(b"end"))

    got, _ = once(app)
    assert got["transfer-encoding"] == "chunked"
    assert got.body == file.read_bytes() + b"end"


def test_a_file_that_is_too_short(file: Path) -> None:
    """asgi.md 54, 38: a visible break."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        size = file.stat().st_size
        with open(file, "rb") as handle:
            await send(start(200, (b"content-length", str(size + 1).encode())))
            await send({"type": "http.response.zerocopysend", "file": handle, "offset": 0, "count": size + 1})

    got, worker = once(app)
    assert not got.ended
    assert len(worker.log.at("error")) == 1


@pytest.mark.parametrize("te", ["trailers", "gzip, trailers;q=1", ""])
def test_trailers(te: str) -> None:
    """asgi.md 55: only to a client that takes them; more_trailers honoured."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, trailers=True))
        await send(body(b"abc", more=True))
        await send(body(b"def"))
        await send({"type": "http.response.trailers", "headers": [(b"x-one", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"x-two", b"2")], "more_trailers": False})

    with serving(http_only(app)) as worker:
        client = worker.connect()
        reader = Reader(client)
        headers = f"TE: {te}\r\nConnection: TE\r\n" if te else ""
        client.sendall(request(headers=headers) + request(headers=headers))
        for _ in range(2):
            assert reader.answer().body == b"abcdef"
            assert reader.trailers == ([b"x-one: 1", b"x-two: 2"] if "trailers" in te else [])
        assert worker.log.at("error") == []


def test_trailers_unannounced() -> None:
    """asgi.md 55: without trailers=True they are a mistake."""
    raised = Raised()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        with raised.here():
            await send({"type": "http.response.trailers", "headers": []})
        await send(body())

    got, _ = once(app, request(headers="TE: trailers\r\n"))
    assert got.status == 200
    assert isinstance(raised.errors[0], ResponseError)


def test_trailers_announced_and_never_sent() -> None:
    """asgi.md 47, 55: the response is not complete."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, trailers=True))
        await send(body(b"abc"))

    got, worker = once(app, request(headers="TE: trailers\r\n"))
    assert not got.ended
    assert len(worker.log.at("error")) == 1


def test_early_hints() -> None:
    """asgi.md 56: a 103 before the response, nothing after its head."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
        await send(hint)
        await send(start())
        await send(body(b"ok", more=True))
        await send(hint)
        await send(body())
        await send(hint)

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request())
        reader = Reader(client)
        status, headers, _ = reader.head()
        assert (status, headers) == (103, [("link", "</a.css>; rel=preload")])
        assert reader.answer().body == b"ok"
        assert fetch(worker, request(version="1.0")).body == b"ok"
        assert worker.log.at("error") == []
