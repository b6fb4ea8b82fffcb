"""What send() makes of an application's messages."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
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
    hello,
    http_only,
    read_body,
    start,
)
from tests.fakes.asgi_worker import PATIENCE, Answer, Reader, Worker, fetch, request, serving


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


# ---------------------------------------------------------------- send


def test_the_head_waits_for_the_first_part() -> None:
    """asgi.md 31, 46: a failure between start and body is a clean 500, with one record."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"x-secret", b"1")))
        raise RuntimeError("between start and body")

    got, worker = once(app)
    assert got.status == 500
    assert got["connection"] == "close"
    assert b"secret" not in got.raw + got.body
    assert b"between" not in got.body
    errors = [record for record in worker.log.records if record[0] == "error"]
    assert len(errors) == 1
    assert "between start and body" in errors[0][2]
    assert "arbiter/gateways" not in errors[0][2]


def test_send_waits_for_a_slow_reader(loop_kind: str) -> None:
    """asgi.md 32: send blocks while the peer does not read, and goes on when it does."""
    sent: list[int] = []
    part = bytes(1 << 20)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        for number in range(32):
            await send(body(part, more=True))
            sent.append(number)
        await send(body())

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(request())
        worker.until(
            lambda: [c for c in worker.tasks.service.connections if getattr(c, "write_paused", False)]
        )
        stuck = len(sent)
        assert stuck < 30
        assert len(Reader(client).answer().body) == 32 << 20
    assert len(sent) == 32


def test_parts_without_length_are_chunked_or_end_with_the_connection() -> None:
    """asgi.md 33."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"ab", more=True))
        await send(body(b"cd"))

    got, _ = once(app)
    assert (got["transfer-encoding"], got["content-length"], got.body) == ("chunked", None, b"abcd")
    got, _ = once(app, request(version="1.0"))
    assert (got["transfer-encoding"], got["content-length"], got["connection"]) == (None, None, "close")
    assert got.body == b"abcd" and got.ended


def test_framing_fields_of_the_application_are_not_passed_on() -> None:
    """asgi.md 34."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"abc", 200, (b"transfer-encoding", b"gzip, chunked"), (b"content-length", b"3"))

    got, _ = once(app)
    assert (got["transfer-encoding"], got["content-length"], got.body) == (None, "3", b"abc")


def test_head_requests() -> None:
    """asgi.md 35."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"abc", 200, (b"content-length", b"3"))

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request(method="HEAD") + request())
        reader = Reader(client)
        first = reader.answer("HEAD")
        assert (first["content-length"], first["transfer-encoding"]) == ("3", None)
        assert reader.answer().body == b"abc"


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_statuses(status: int) -> None:
    """asgi.md 36: the body is ignored, the connection stays."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(
            send, b"not shown" if scope["path"] == "/" else b"shown", status if scope["path"] == "/" else 200
        )

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request() + request("/next"))
        reader = Reader(client)
        got = reader.answer()
        assert (got.status, got["content-length"], got["transfer-encoding"]) == (status, None, None)
        assert reader.answer().body == b"shown"


def test_more_than_content_length() -> None:
    """asgi.md 37: send raises, nothing beyond the length is on the wire."""
    raised = Raised()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"content-length", b"3")))
        await send(body(b"abc", more=True))
        with raised.here():
            await send(body(b"HTTP/1.1 200 OK\r\n\r\n"))

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request() + request())
        reader = Reader(client)
        assert reader.answer().body == b"abc"
        assert reader.rest() == b""
    assert isinstance(raised.errors[0], ResponseError)


def test_fewer_than_content_length() -> None:
    """asgi.md 38: the client sees the truncation."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"content-length", b"10")))
        await send(body(b"abc", more=True))
        await send(body(b"de"))

    got, _ = once(app)
    assert not got.ended


def test_fewer_than_content_length_in_one_part_is_a_500() -> None:
    """asgi.md 38, 31: nothing was out yet."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"abc", 200, (b"content-length", b"10"))

    assert once(app)[0].status == 500


def test_header_order_and_repeats() -> None:
    """asgi.md 39."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"", 200, (b"Set-Cookie", b"a"), (b"x-b", b"1"), (b"set-cookie", b"c"))

    got, _ = once(app)
    assert [pair for pair in got.headers if pair[0] in ("set-cookie", "x-b")] == [
        ("set-cookie", "a"),
        ("x-b", "1"),
        ("set-cookie", "c"),
    ]


@pytest.mark.parametrize(
    "message",
    [
        start(200, ("x-a", b"1")),  # type: ignore[arg-type]
        start(200, (b"x-a", "1")),  # type: ignore[arg-type]
        start(200, (b"x-a", b"1\r\nx-b: 2")),
        start(200, (b"x a", b"1")),
        start(200, (b"x-a", b"1\0")),
        start("200"),  # type: ignore[arg-type]
        start(99),
        {"type": "http.response.start"},
        {"type": "http.response.begin"},
        {"status": 200},
        body(b"before the start"),
    ],
    ids=repr,
)
def test_bad_messages_raise_and_leave_a_500(message: dict[str, Any]) -> None:
    """asgi.md 39, 40, 41: nothing of it on the wire."""
    raised = Raised()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with raised.here():
            await send(message)

    got, _ = once(app)
    assert got.status == 500
    assert "x-a" not in dict(got.headers) and "x-b" not in dict(got.headers)
    assert isinstance(raised.errors[0], ResponseError)


def test_a_bad_start_may_be_followed_by_a_good_one() -> None:
    """asgi.md 40: an application that catches the exception can still answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(ResponseError):
            await send(start(200, (b"x-a", b"\n")))
        await answer(send, b"sorry", 400)

    got, _ = once(app)
    assert (got.status, got.body) == (400, b"sorry")


def test_messages_out_of_order() -> None:
    """asgi.md 41, 43: second start, body after the end, unknown keys."""
    raised = Raised()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, whatever=1))
        with raised.here():
            await send(start(201))
        await send({**body(b"ab"), "unknown": 1})
        for message in (body(b"cd"), start(), {"type": "http.response.pathsend", "path": "/"}):
            with raised.here():
                await send(message)

    got, _ = once(app)
    assert (got.status, got.body) == (200, b"ab")
    assert len(raised.errors) == 4
    assert all(isinstance(error, ResponseError) for error in raised.errors)


@pytest.mark.parametrize("data", [bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"abcd").cast("H")])
def test_buffers(data: Any) -> None:
    """asgi.md 42."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, data)

    assert once(app)[0].body == b"abcd"


@pytest.mark.parametrize("data", ["abcd", 4, None, [1]])
def test_no_buffers(data: Any) -> None:
    """asgi.md 42."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, data)

    assert once(app)[0].status == 500


def test_defaults_of_messages() -> None:
    """www: headers, body and more_body may be missing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    got, _ = once(app)
    assert (got.status, got["content-length"], got.body) == (200, "0", b"")


def test_headers_may_be_a_generator() -> None:
    """www: an iterable of pairs."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = ((name, b"1") for name in (b"x-a", b"x-b"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(body())

    got, worker = once(app)
    assert got["x-a"] == got["x-b"] == "1"
    assert worker.access.lines[0].headers == [(b"x-a", b"1"), (b"x-b", b"1")]


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()]
)
def test_exceptions_before_the_start(error: BaseException, loop_kind: str) -> None:
    """asgi.md 46: 500 and one record, whatever it is; the worker goes on."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/fail":
            raise error
        await answer(send)

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        assert fetch(worker, request("/fail")).status == 500
        assert len(worker.log.at("error")) == 1
        assert fetch(worker, request("/")).status == 200


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_exceptions_amid_the_body(version: str) -> None:
    """asgi.md 46: aborted, so that neither chunked nor close-delimited framing looks complete."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"half", more=True))
        raise RuntimeError("amid")

    got, worker = once(app, request(version=version))
    assert got.status == 200
    assert not got.ended
    assert len(worker.log.at("error")) == 1
    assert worker.access.lines[0].aborted == "the application failed"


@pytest.mark.parametrize(
    "sends", [[], [start()], [start(), body(b"half", more=True)]], ids=["none", "start", "half"]
)
def test_early_returns(sends: list[dict[str, Any]]) -> None:
    """asgi.md 47: no response: 500; an unfinished one: aborted."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in sends:
            await send(message)

    got, worker = once(app)
    assert (got.status == 500) if len(sends) < 2 else not got.ended
    assert len(worker.log.at("error")) == 1


def test_work_after_the_response_delays_nothing() -> None:
    """asgi.md 49: the next request on the connection is served meanwhile."""
    gate = threading.Event()
    ended = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, scope["path"].encode())
        if scope["path"] == "/slow":
            await asyncio.get_running_loop().run_in_executor(None, gate.wait, PATIENCE)
            ended.set()

    with serving(http_only(app)) as worker:
        client = worker.connect()
        reader = Reader(client)
        client.sendall(request("/slow") + request("/next"))
        assert [reader.answer().body, reader.answer().body] == [b"/slow", b"/next"]
        gate.set()
        assert ended.wait(PATIENCE)


def test_an_exception_after_the_response_is_logged_only() -> None:
    """asgi.md 49: the answer was complete."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)
        raise RuntimeError("afterwards")

    with serving(http_only(app)) as worker:
        client = worker.connect()
        reader = Reader(client)
        client.sendall(request() + request())
        assert [reader.answer().status, reader.answer().status] == [200, 200]
        worker.until(lambda: len(worker.log.at("error")) == 2)


@pytest.mark.parametrize("who", ["client", "app", "1.0"])
def test_connection_close(who: str) -> None:
    """asgi.md 50: honoured and echoed."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"ok", 200, *([(b"connection", b"close")] if who == "app" else []))

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(
            request(
                headers="Connection: close\r\n" if who == "client" else "",
                version="1.0" if who == "1.0" else "1.1",
            )
        )
        reader = Reader(client)
        assert reader.answer()["connection"] == "close"
        assert reader.ends()


def test_keep_alive_of_1_0() -> None:
    """http.md 33."""
    with serving(hello) as worker:
        client = worker.connect()
        reader = Reader(client)
        for _ in range(2):
            client.sendall(request(version="1.0", headers="Connection: keep-alive\r\n"))
            assert reader.answer()["connection"] == "keep-alive"


def test_pipelining(loop_kind: str) -> None:
    """asgi.md 51: in order, whatever each one takes."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith("0"):
            await asyncio.sleep(0.005)
        await answer(send, scope["path"].encode() + (await read_body(receive))[0])

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(b"".join(request(f"/{n}", "POST", body=b"!" * n) for n in range(1, 41)))
        reader = Reader(client)
        assert [reader.answer().body for _ in range(40)] == [
            f"/{n}".encode() + b"!" * n for n in range(1, 41)
        ]


def test_date_and_server() -> None:
    """asgi.md 52: once, overridable, removable."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        own = [(b"date", b"now"), (b"Server", b"me")] if scope["path"] == "/own" else []
        await answer(send, b"", 200, *own)

    with serving(http_only(app)) as worker:
        got = fetch(worker, request())
        assert got["server"] == "arbiter"
        assert got["date"] is not None and got["date"].endswith("GMT")
        own = fetch(worker, request("/own"))
        assert (own["date"], own["server"]) == ("now", "me")
    assert once(hello, server_header="")[0]["server"] is None
