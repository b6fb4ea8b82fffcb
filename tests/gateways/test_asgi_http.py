"""receive() and send() of HTTP, with a real worker on a real loop and clients on real sockets."""

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

from arbiter.errors import PeerGone, ResponseError
from tests.fakes.asgi_apps import (
    App,
    Receive,
    Scope,
    Send,
    answer,
    body,
    echo,
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


# ---------------------------------------------------------------- receive


def test_no_body_is_one_empty_message(loop_kind: str) -> None:
    """asgi.md 20."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        await answer(send)

    once(app, asgi_loop=loop_kind)
    assert seen == [{"type": "http.request", "body": b"", "more_body": False}]


def test_chunked_body_is_decoded() -> None:
    """asgi.md 21: extensions and trailers are swallowed."""
    data = request(method="POST", headers="Transfer-Encoding: chunked\r\n")
    data += b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
    with serving(echo) as worker:
        assert fetch(worker, data).body == b"abcde"


def test_parts_arrive_as_they_come() -> None:
    """asgi.md 22: more_body until the last part."""
    parts: list[Any] = []
    got_one = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            parts.append((message["body"], message["more_body"]))
            more = message["more_body"]
            got_one.set()
        await answer(send)

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request(method="POST", headers="Content-Length: 6\r\n") + b"abc")
        assert got_one.wait(PATIENCE)
        client.sendall(b"def")
        assert Reader(client).answer().status == 200
    assert b"".join(data for data, _ in parts) == b"abcdef"
    assert [more for _, more in parts] == [True] * (len(parts) - 1) + [False]


def test_receive_after_the_body_waits_for_the_end_of_the_response() -> None:
    """asgi.md 22, 23: no second http.request; after the response, http.disconnect every time."""
    seen: list[Any] = []
    done = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen.append(waiting.done())
        await answer(send)
        seen.append(await waiting)
        seen.append(await receive())
        done.set()

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request(method="POST", body=b"x"))
        assert Reader(client).answer().status == 200
        assert done.wait(PATIENCE)
    assert seen == [False, {"type": "http.disconnect"}, {"type": "http.disconnect"}]


def test_two_may_wait_and_one_may_be_cancelled() -> None:
    """receive() from several tasks: cancelling one does not disturb the other."""
    seen: list[Any] = []
    done = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        one = asyncio.ensure_future(receive())
        two = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.sleep(0)
        seen.append((one.cancelled(), two.done()))
        await answer(send)
        seen.append(await two)
        done.set()

    with serving(http_only(app)) as worker:
        assert fetch(worker, request()).status == 200
        assert done.wait(PATIENCE)
    assert seen == [(True, False), {"type": "http.disconnect"}]
    assert worker.log.at("error") == []


def test_disconnect_is_told_again_and_again(loop_kind: str) -> None:
    """asgi.md 24."""
    seen: list[Any] = []
    waiting, told = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting.set()
        seen.append(await receive())
        seen.append(await receive())
        told.set()

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(request())
        assert waiting.wait(PATIENCE)
        client.close()
        assert told.wait(PATIENCE)
        worker.until(lambda: worker.access.lines)
        assert worker.log.at("error") == []
    assert seen == [{"type": "http.disconnect"}] * 2
    assert worker.access.lines[0].aborted == "the client disconnected"


@pytest.mark.parametrize(
    "framing", ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
)
def test_a_cut_body_is_never_complete(framing: str) -> None:
    """asgi.md 25: http.disconnect, not a shorter body."""
    result: list[Any] = []
    done = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        result.append(await read_body(receive))
        done.set()

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing.encode())
        client.close()
        assert done.wait(PATIENCE)
    assert result == [(b"abc", False)] or result == [(b"", False)]


def test_continue_is_sent_when_the_application_reads() -> None:
    """asgi.md 26."""
    gate = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.get_running_loop().run_in_executor(None, gate.wait, PATIENCE)
        await answer(send, (await read_body(receive))[0])

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request(method="POST", headers="Content-Length: 3\r\nExpect: 100-continue\r\n"))
        reader = Reader(client)
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(PATIENCE)
        gate.set()
        assert reader.head()[0] == 100
        client.sendall(b"abc")
        assert reader.answer().body == b"abc"


def test_an_unanswered_expectation_closes() -> None:
    """asgi.md 26, 27: no 100 once a response began, and no second request on that connection."""
    with serving(hello) as worker:
        client = worker.connect()
        client.sendall(request(method="POST", headers="Content-Length: 3\r\nExpect: 100-continue\r\n"))
        reader = Reader(client)
        got = reader.answer()
        assert (got.status, got["connection"]) == (200, "close")
        assert reader.ends()


def test_a_reader_that_does_not_read_stops_the_client() -> None:
    """asgi.md 28: what is held of a body is bounded; reading on goes on when the application does."""
    gate = threading.Event()
    size = 64 << 20

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.get_running_loop().run_in_executor(None, gate.wait, PATIENCE)
        count = 0
        while True:
            message = await receive()
            count += len(message["body"])
            if not message["more_body"]:
                break
        await answer(send, str(count).encode())

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request(method="POST", headers=f"Content-Length: {size}\r\n"))
        client.setblocking(False)
        block, sent = bytes(1 << 16), 0
        quiet = 0
        while quiet < 20:  # until the kernel's buffers are full, too
            try:
                sent += client.send(block)
                quiet = 0
            except BlockingIOError:
                quiet += 1
                threading.Event().wait(0.02)
        assert sent < size // 2
        held = [cycle.buffered for cycle in worker.tasks.service.running]
        assert held and held[0] <= 65536 + (256 << 10)
        gate.set()
        client.settimeout(PATIENCE)
        client.sendall(bytes(size - sent))
        assert Reader(client).answer().body == str(size).encode()


@pytest.mark.parametrize("late", [False, True])
def test_a_small_unread_body_is_skipped(late: bool) -> None:
    """asgi.md 29, http.md 30: keep-alive survives, whether the body came before or after the answer."""
    with serving(hello) as worker:
        client = worker.connect()
        reader = Reader(client)
        head = request(method="POST", headers="Content-Length: 1000\r\n")
        client.sendall(head if late else head + bytes(1000))
        assert reader.answer().status == 200
        client.sendall(bytes(1000) + request() if late else request())
        assert reader.answer().body == b"Hello, world!"


def test_a_large_unread_body_closes() -> None:
    """asgi.md 29: past the bound the connection closes, and the answer can still be read."""
    with serving(hello) as worker:
        client = worker.connect()
        client.sendall(request(method="POST", headers="Content-Length: 10000000\r\n"))
        reader = Reader(client)
        got = reader.answer()
        assert (got.status, got["connection"]) == (200, "close")
        assert reader.ends()


def test_half_closed_clients_are_answered(loop_kind: str) -> None:
    """asgi.md 30, http.md 36: also pipelined ones, and one that takes a while."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.05)
        await answer(send, scope["path"].encode())

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(request("/1") + request("/2") + request("/3"))
        client.shutdown(socket.SHUT_WR)
        reader = Reader(client)
        got = [reader.answer() for _ in range(3)]
        assert [one.body for one in got] == [b"/1", b"/2", b"/3"]
        assert got[2]["connection"] == "close"
        assert reader.ends()


def test_a_half_closed_client_is_a_disconnect_in_the_end() -> None:
    """A listener hears http.disconnect soon after, but what is sent still arrives."""
    told = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        told.set()
        await answer(send, b"still here")

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request())
        client.shutdown(socket.SHUT_WR)
        assert told.wait(PATIENCE)
        assert Reader(client).answer().body == b"still here"


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


# ---------------------------------------------------------------- the client goes


def test_send_raises_when_the_client_is_gone(loop_kind: str) -> None:
    """asgi.md 44, 45, 48: an OSError, which may escape without a record; a send-only stream learns of it."""
    raised = Raised()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        while True:
            try:
                await send(body(bytes(1000), more=True))
            except OSError as error:
                raised.errors.append(error)
                raised.happened.set()
                raise
            await asyncio.sleep(0.001)

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(request())
        assert Reader(client).head()[0] == 200
        client.close()
        assert raised.happened.wait(PATIENCE)
        worker.until(lambda: not worker.tasks.service.running)
        assert isinstance(raised.errors[0], PeerGone)
        assert worker.log.at("error") == []


def test_a_blocked_send_raises_when_the_client_goes() -> None:
    """asgi.md 32, 44: also out of a send that waits for the reader."""
    raised = Raised()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        with raised.here():
            while True:
                await send(body(bytes(1 << 20), more=True))

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request())
        worker.until(
            lambda: [c for c in worker.tasks.service.connections if getattr(c, "write_paused", False)]
        )
        client.close()
        assert raised.happened.wait(PATIENCE)
    assert isinstance(raised.errors[0], PeerGone)


def test_a_listener_is_told_before_send_raises() -> None:
    """asgi.md Django 5: send() is held while the application reacts, and cancelled rather than raising."""
    raised = Raised()
    order: list[str] = []
    done = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def stream() -> None:
            await send(start())
            with raised.here():
                while True:
                    await send(body(bytes(1000), more=True))
                    await asyncio.sleep(0.001)

        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            order.append("told")

        streaming = asyncio.ensure_future(stream())
        await listen()
        await asyncio.sleep(0.05)  # slower than the next send
        streaming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await streaming
        done.set()

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request())
        assert Reader(client).head()[0] == 200
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()  # a reset
        assert done.wait(PATIENCE)
    assert order == ["told"]
    assert isinstance(raised.errors[0], asyncio.CancelledError)


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
