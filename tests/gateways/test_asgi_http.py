"""receive() of HTTP and the client's going, with a real worker and clients on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from arbiter.errors import PeerGone
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
