"""HTTP connections of the asgi worker: what ends them, and what proxies say."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from arbiter.link.scoreboard import Word
from tests.fakes.asgi_apps import Receive, Scope, Send, answer, body, echo, hello, http_only, read_body, start
from tests.fakes.asgi_worker import PATIENCE, Reader, fetch, request, serving


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's clock, fifty times as often."""
    monkeypatch.setattr("arbiter.workers.dispatch.tasks.TICK", 0.02)


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ---------------------------------------------------------------- time limits


def test_an_idle_connection_is_closed_silently(loop_kind: str) -> None:
    """http.md 35: keepalive."""
    with serving(hello, keepalive=0.05, asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(request())
        reader = Reader(client)
        assert reader.answer().status == 200
        assert reader.ends()
        worker.until(lambda: worker.row[Word.CONNECTIONS] == 0)


def test_no_keepalive() -> None:
    """http.md 33: keepalive 0 is one request per connection."""
    with serving(hello, keepalive=0) as worker:
        client = worker.connect()
        client.sendall(request() + request())
        reader = Reader(client)
        assert reader.answer()["connection"] == "close"
        assert reader.ends()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHo"])
def test_a_head_that_does_not_come(sent: bytes, loop_kind: str) -> None:
    """http.md 35: 408 where a request had begun, silence where none had."""
    with serving(hello, header_timeout=0.1, asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(sent)
        reader = Reader(client)
        if sent:
            assert reader.answer().status == 408
        assert reader.ends()


@pytest.mark.parametrize("pipelined", [True, False])
def test_a_head_that_does_not_come_behind_another_request(pipelined: bool) -> None:
    """http.md 35: its own limit runs from its first byte."""
    with serving(hello, header_timeout=0.1, keepalive=0.1) as worker:
        client = worker.connect()
        reader = Reader(client)
        client.sendall(request() + b"GET / HT" if pipelined else request())
        assert reader.answer().status == 200
        if not pipelined:
            client.sendall(b"GET / HT")
        assert reader.answer().status == 408
        assert reader.ends()


@pytest.mark.parametrize("trickle", [False, True])
def test_a_body_that_does_not_come(trickle: bool, loop_kind: str) -> None:
    """http.md 35, asgi.md Django 2: silence or less than the minimum rate is 408; the application is told."""
    result: list[Any] = []
    over = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        result.append(await read_body(receive))
        over.set()

    settings = {"body_timeout": 0.2, "body_min_rate": 1000 if trickle else 0, "asgi_loop": loop_kind}
    with serving(http_only(app), **settings) as worker:
        client = worker.connect()
        client.sendall(request(method="POST", headers="Content-Length: 1000\r\n") + b"abc")
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.02):
                try:
                    client.send(b".")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        if trickle:
            thread.start()
        assert Reader(client).answer().status == 408
        stop.set()
        assert over.wait(PATIENCE)
        worker.until(lambda: worker.access.lines)
        assert worker.access.lines[0].status == 408
        assert worker.log.at("error") == []
        if trickle:
            thread.join(PATIENCE)
    assert result[0][1] is False


def test_a_slow_but_steady_body_is_welcome() -> None:
    """http.md 35: silence is measured from the last bytes, not from the first."""
    with serving(echo, body_timeout=0.3, body_min_rate=0) as worker:
        client = worker.connect()
        client.sendall(request(method="POST", headers="Content-Length: 10\r\n"))
        pause = threading.Event()
        for _ in range(10):
            pause.wait(0.1)
            client.sendall(b".")
        assert Reader(client).answer().body == b"." * 10


def test_an_application_that_takes_its_time_to_read_is_not_the_clients_fault() -> None:
    """http.md 35: no limit runs while reading is paused for the application's sake."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.4)
        data, complete = await read_body(receive)
        await answer(send, str((len(data), complete)).encode())

    with serving(http_only(app), body_timeout=0.1, body_min_rate=0) as worker:
        client = worker.connect()
        client.sendall(request(method="POST", body=bytes(1 << 20)))
        assert Reader(client).answer().body == b"(1048576, True)"


def test_a_client_that_takes_nothing(loop_kind: str) -> None:
    """http.md 35: send_timeout; the application hears of it, the connection is broken."""
    errors: list[BaseException] = []
    over = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        try:
            while True:
                await send(body(bytes(1 << 20), more=True))
        except OSError as error:
            errors.append(error)
            over.set()

    with serving(http_only(app), send_timeout=0.1, asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(request())
        assert over.wait(PATIENCE)
        worker.until(lambda: worker.row[Word.CONNECTIONS] == 0)


def test_a_client_that_takes_nothing_of_a_finished_answer() -> None:
    """http.md 35: also when the application has long returned."""
    size = 8 << 20

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, bytes(size), 200, (b"connection", b"close"))

    with serving(http_only(app), send_timeout=0.1) as worker:
        client = worker.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(request())
        worker.until(lambda: worker.row[Word.ACCEPTED] == 1)
        worker.until(lambda: worker.row[Word.CONNECTIONS] == 0)
        assert not Reader(client).answer().ended


def test_a_slow_client_that_takes_something_is_served() -> None:
    """http.md 35: progress counts, not speed."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, bytes(4 << 20))

    with serving(http_only(app), send_timeout=0.3) as worker:
        client = worker.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(request())
        reader = Reader(client)
        pause = threading.Event()
        for _ in range(6):
            pause.wait(0.1)
            reader._more()
        assert len(reader.answer().body) == 4 << 20


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
    ids=["host", "space", "version", "smuggling", "long", "tls"],
)
def test_refusals(data: bytes, status: int, loop_kind: str) -> None:
    """asgi.md 58-69, http.md 48: without the application, readable although the client goes on sending."""
    called: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        called.append(1)

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(data + bytes(20_000))
        reader = Reader(client)
        got = reader.answer()
        assert (got.status, got["connection"]) == (status, "close")
        assert reader.ends() and not reader.reset
        assert worker.row[Word.BAD_REQUESTS] == 1
        assert any("127.0.0.1" in text for text in worker.log.at("info"))
    assert not called


def test_a_fault_in_the_body() -> None:
    """asgi.md 65: 400 if nothing was sent, and a disconnect for the application."""
    result: list[Any] = []
    over = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        result.append(await read_body(receive))
        over.set()

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request(method="POST", headers="Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n")
        worker.until(lambda: worker.row.in_flight == 1)
        client.sendall(b"zz\r\n")
        assert Reader(client).answer().status == 400
        assert over.wait(PATIENCE)
    assert result[0][1] is False


def test_too_large_a_body() -> None:
    """http.md 23: 413 before reading, and for chunks that add up to it."""
    with serving(echo, limit_request_body=10) as worker:
        assert fetch(worker, request(method="POST", headers="Content-Length: 11\r\n")).status == 413
        chunks = (
            request(method="POST", headers="Transfer-Encoding: chunked\r\n") + b"b\r\n" + bytes(11) + b"\r\n"
        )
        assert fetch(worker, chunks).status == 413
        assert fetch(worker, request(method="POST", body=bytes(10))).status == 200


def test_a_fault_behind_a_good_request() -> None:
    """http.md 34: the good one is answered first."""
    with serving(hello) as worker:
        client = worker.connect()
        client.sendall(request() + b"BAD\r\n\r\n")
        reader = Reader(client)
        assert [reader.answer().status, reader.answer().status] == [200, 400]
        assert reader.ends()


def test_pipelined_requests_are_bounded() -> None:
    """http.md 34: what is held of requests that nobody has answered yet."""
    gate = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not gate.is_set():
            await asyncio.sleep(0.005)
        await answer(send)

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.setblocking(False)
        flood = request() * 1000
        sent, quiet = 0, 0
        while quiet < 20 and sent < 64 << 20:
            try:
                sent += client.send(flood)
                quiet = 0
            except BlockingIOError:
                quiet += 1
                gate.wait(0.01)
        assert sent < 64 << 20
        (connection,) = worker.tasks.service.connections
        assert not connection.reading  # type: ignore[attr-defined]
        gate.set()
        client.settimeout(PATIENCE)
        assert Reader(client).answer().status == 200


def test_a_peer_that_takes_no_answer_is_not_given_another() -> None:
    """asgi.md 32: pipelined requests do not pile up answers."""
    called: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        called.append(1)
        await answer(send, bytes(8 << 20))

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(request() * 20)
        worker.until(
            lambda: [c for c in worker.tasks.service.connections if getattr(c, "write_paused", False)]
        )
        reader = Reader(client)
        assert len(called) == 1
        for _ in range(20):
            assert len(reader.answer().body) == 8 << 20
    assert len(called) == 20


# ---------------------------------------------------------------- proxies


def seen_by(headers: str, **settings: Any) -> Scope:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await answer(send)

    with serving(http_only(app), **settings) as worker:
        status = fetch(worker, request("/x", headers=headers)).status
        return scopes[0] if scopes else {"status": status}


def test_a_trusted_proxy() -> None:
    """http.md 49, asgi.md 6."""
    scope = seen_by(
        "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n"
        "X-Forwarded-Prefix: /shop\r\n"
    )
    assert scope["client"] == ("9.9.9.9", 0)
    assert scope["scheme"] == "https"
    assert (b"host", b"shop.example") in scope["headers"]
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/shop", "/shop/x", b"/shop/x")


def test_a_stranger() -> None:
    """http.md 49: from strangers they are plain headers."""
    scope = seen_by(
        "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n", forwarded_allow_ips="10.0.0.1"
    )
    assert scope["client"][0] == "127.0.0.1"
    assert scope["scheme"] == "http"
    assert (b"x-forwarded-for", b"9.9.9.9") in scope["headers"]


def test_a_proxy_that_contradicts_itself() -> None:
    """http.md 49: refused."""
    assert seen_by("X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n")["status"] in (200, 400)
    assert seen_by("X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Prefix: evil\r\n") == {"status": 400}


def test_root_path_of_the_configuration() -> None:
    """asgi.md 10."""
    scope = seen_by("", root_path="/app")
    assert (scope["root_path"], scope["path"]) == ("/app", "/app/x")
