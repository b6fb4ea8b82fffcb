"""The asgi worker's life: accepting, draining, quitting, and surviving its application."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbiter.errors import ExitStatus
from arbiter.link.scoreboard import Word
from tests.fakes.asgi_apps import Receive, Scope, Send, answer, body, hello, http_only, start
from tests.fakes.asgi_worker import PATIENCE, Reader, Worker, fetch, request, serving


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Gate:
    """An application that answers when the test lets it."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.cancelled = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(scope["type"])
        self.entered.set()
        try:
            while not self.open.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await answer(send, b"at last")


def test_a_system_exit_in_a_task_does_not_end_the_worker(loop_kind: str) -> None:
    """A worker ends by order only, whatever a task of the application raises."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/exit":

            async def leave() -> None:
                raise SystemExit(3)

            app.task = asyncio.ensure_future(leave())  # type: ignore[attr-defined]
        elif scope["path"] == "/callback":

            def raising() -> None:
                raise KeyboardInterrupt

            asyncio.get_running_loop().call_soon(raising)
        await answer(send)

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        for path in ("/exit", "/callback", "/"):
            assert fetch(worker, request(path)).status == 200
        worker.until(lambda: len(worker.log.at("error")) == 2)
        assert fetch(worker, request("/")).status == 200
        worker.drain()
        assert worker.wait() == ExitStatus.OK


def test_exceptions_in_tasks_of_the_application_are_logged(loop_kind: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def fail() -> None:
            raise RuntimeError("nobody waits for me")

        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        await answer(send)

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        fetch(worker, request())
        worker.until(lambda: worker.log.at("error"))
        assert any("nobody waits for me" in record[2] for record in worker.log.records)


# ---------------------------------------------------------------- the end


def test_drain(loop_kind: str) -> None:
    """asgi.md 92, http.md 40: what runs is answered with `close`, nothing new is accepted, exit status 0."""
    app = Gate()
    with serving(app, asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(request())
        assert app.entered.wait(PATIENCE)
        worker.drain()
        worker.until(lambda: worker.listener.fileno() == -1)
        with pytest.raises(ConnectionRefusedError):
            worker.connect()
        app.open.set()
        reader = Reader(client)
        got = reader.answer()
        assert (got.body, got["connection"]) == (b"at last", "close")
        assert reader.ends()
        assert worker.wait() == ExitStatus.OK
    assert worker.log.at("error", "warning") == []


def test_a_request_that_races_the_drain_is_answered() -> None:
    """http.md 40: kept connections get a moment."""
    with serving(hello) as worker:
        client = worker.connect()
        reader = Reader(client)
        client.sendall(request())
        assert reader.answer()["connection"] is None
        worker.drain()
        worker.until(lambda: worker.tasks.service.draining)
        client.sendall(request())
        assert reader.answer()["connection"] == "close"
        assert reader.ends()
        assert worker.wait() == ExitStatus.OK


@pytest.mark.parametrize("last", [True, False])
def test_what_is_queued(last: bool) -> None:
    """The last worker answers what the kernel has accepted for it; one that is replaced leaves it to its
    successor.
    """
    block, blocked = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/block":
            blocked.set()
            block.wait(PATIENCE)  # the loop stands still, so that connections queue up
        await answer(send)

    with contextlib.closing(Worker(http_only(app))) as worker:
        keep = worker.listener.dup()  # the arbiter's copy
        worker.start()
        first = worker.connect()
        first.sendall(request("/block"))
        assert blocked.wait(PATIENCE)
        queued = [worker.connect() for _ in range(8)]
        for client in queued:
            client.sendall(request())
        worker.orders.last = last
        worker.drain()
        block.set()
        if last:
            for client in queued:
                assert Reader(client).answer().status == 200
        assert worker.wait() == ExitStatus.OK
        if not last:
            keep.setblocking(False)
            left = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    keep.accept()[0].close()
                    left += 1
            assert left >= 1
        keep.close()


def test_the_deadline_cuts_and_says_so(loop_kind: str) -> None:
    """http.md 40: running requests are cancelled, one record each; the client gets an answer or a visible
    break.
    """
    app = Gate()

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") == "/stream":
            await send(start())
            await send(body(b"part", more=True))
        await app(scope, receive, send)

    with serving(streaming, asgi_loop=loop_kind) as worker:
        waiting, stream = worker.connect(), worker.connect()
        waiting.sendall(request("/wait"))
        stream.sendall(request("/stream"))
        streamed = Reader(stream)
        streamed.until(b"part\r\n")
        worker.until(lambda: len(worker.tasks.service.running) == 2)
        worker.drain(0.3)
        got = Reader(waiting).answer()
        assert (got.status, got["connection"]) == (503, "close")
        assert b"0\r\n\r\n" not in streamed.rest()
        assert worker.wait() == ExitStatus.OK
    assert app.cancelled == 2
    cuts = worker.log.at("warning")
    assert len(cuts) == 2
    assert any("GET /wait" in text for text in cuts) and any("GET /stream" in text for text in cuts)
    assert worker.log.at("error") == []


def test_streams_hear_of_the_end() -> None:
    """asgi.md 94: http.disconnect shortly before the deadline; a stream may still say goodbye."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(start())
        await send(body(b"hello", more=True))
        assert (await receive())["type"] == "http.disconnect"
        await send(body(b"goodbye"))

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request())
        reader = Reader(client)
        reader.head()
        worker.drain(3.0)
        assert b"goodbye\r\n0\r\n\r\n" in reader.rest()
        assert worker.wait() == ExitStatus.OK
    assert worker.log.at("error", "warning") == []


def test_background_work_is_waited_for() -> None:
    """asgi.md 49, 92: an application call is over when it returns, not when its response is."""
    gate, ended = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"ok", 200, (b"connection", b"close"))
        while not gate.is_set():
            await asyncio.sleep(0.005)
        ended.set()

    with serving(http_only(app)) as worker:
        fetch(worker, request())
        worker.drain()
        worker.until(lambda: worker.tasks.service.draining)
        gate.set()
        assert worker.wait() == ExitStatus.OK
        assert ended.is_set()


def test_quit(loop_kind: str) -> None:
    """asgi.md 93: at once, whatever runs; logged."""
    app = Gate()
    with serving(app, asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(request())
        assert app.entered.wait(PATIENCE)
        worker.quit()
        assert worker.wait() == ExitStatus.OK
    assert app.cancelled == 1
    assert len(worker.log.at("warning")) == 1


def test_quit_while_draining() -> None:
    """asgi.md 93."""
    app = Gate()
    with serving(app) as worker:
        client = worker.connect()
        client.sendall(request())
        assert app.entered.wait(PATIENCE)
        worker.drain(1000)
        worker.until(lambda: worker.tasks.service.draining)
        worker.quit()
        assert worker.wait() == ExitStatus.OK


@pytest.mark.parametrize("count", [1, 7])
def test_an_application_that_resists_cancellation_does_not_hold_the_worker(count: int) -> None:
    """The record says which requests these were, not without end."""
    stop = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not stop.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.005)

    with serving(http_only(app)) as worker:
        clients = [worker.connect() for _ in range(count)]
        for client in clients:
            client.sendall(request())
        worker.until(lambda: len(worker.tasks.service.running) == count)
        worker.quit()
        assert worker.wait() == ExitStatus.OK
        stop.set()
    (told,) = [text for text in worker.log.at("warning") if "did not end when cancelled" in text]
    one = r"GET /[^,;]*, begun \d+\.\d s ago"
    if count == 1:
        assert re.fullmatch(
            f"1 application call did not end when cancelled: {one}; the worker leaves .*", told
        )
    else:
        listed = "; ".join([one] * 5)
        assert re.fullmatch(f"7 application calls did not end .*: {listed}; and 2 more; the worker .*", told)


# ---------------------------------------------------------------- accepting and counting


def test_worker_connections_bounds_what_is_accepted() -> None:
    """Above the bound connections wait in the kernel's queue, and are served when there is room."""
    with serving(hello, worker_connections=2) as worker:
        kept = [worker.connect() for _ in range(2)]
        for client in kept:
            client.sendall(request())
            assert Reader(client).answer().status == 200
        late = worker.connect()
        late.sendall(request())
        late.settimeout(0.1)
        with pytest.raises(TimeoutError):
            late.recv(1)
        assert worker.row[Word.CONNECTIONS] == 2
        kept[0].close()
        late.settimeout(PATIENCE)
        assert Reader(late).answer().status == 200


def test_a_wake_up_that_never_came_is_made_good(loop_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbiter.workers.dispatch.tasks.BEAT", 0.02)
    with serving(hello, asgi_loop=loop_kind) as worker:
        deaf = threading.Event()

        def do_not_listen() -> None:
            for source in worker.tasks._acceptor._sources():
                worker.tasks._readers.unwatch(source.fileno())
            deaf.set()

        worker.tasks.loop.call_soon_threadsafe(do_not_listen)
        assert deaf.wait(PATIENCE)
        client = worker.connect()
        client.sendall(request())
        assert Reader(client).answer().status == 200


def test_a_connection_counts_once_from_its_acceptance_on() -> None:
    """Siblings compare what they have with the number on the scoreboard, amid a burst, too."""
    with serving(hello) as worker:
        seen = []

        def accept_five() -> None:
            pairs = [socket.socketpair() for _ in range(5)]
            for ours, theirs in pairs:
                theirs.setblocking(False)
                worker.tasks._adopt(theirs, None, worker.listener)
                seen.append((worker.row[Word.CONNECTIONS], worker.tasks.service.load()))
                clients.append(ours)

        clients: list[socket.socket] = []
        worker.tasks.loop.call_soon_threadsafe(accept_five)
        worker.until(lambda: len(worker.tasks.service.connections) == 5)
        assert seen == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
        assert worker.row[Word.CONNECTIONS] == worker.tasks.service.load() == 5
        for client in clients:
            client.close()
        worker.until(lambda: worker.row[Word.CONNECTIONS] == 0)


def test_a_connection_that_cannot_be_taken_up_is_told_and_does_not_count() -> None:
    with serving(hello) as worker, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as no_stream:
        no_stream.setblocking(False)
        worker.tasks.loop.call_soon_threadsafe(worker.tasks._adopt, no_stream, None, worker.listener)
        worker.until(lambda: worker.log.at("error"))
        worker.until(lambda: worker.row[Word.CONNECTIONS] == 0)
        assert "could not be taken up" in worker.log.at("error")[0]


def test_the_scoreboard() -> None:
    app = Gate()
    with serving(app) as worker:
        client = worker.connect()
        client.sendall(request("/page"))
        assert app.entered.wait(PATIENCE)
        worker.until(lambda: worker.row.in_flight == 1)
        assert [lane.text for lane in worker.row.lanes()] == ["GET /page"]
        app.open.set()
        assert Reader(client).answer().status == 200
        assert (worker.row.in_flight, worker.row[Word.REQUESTS]) == (0, 1)
        assert (worker.row[Word.STATUS_2XX], worker.row[Word.BYTES_OUT]) == (1, len(b"at last"))
        assert (worker.row[Word.ACCEPTED], worker.row[Word.CONNECTIONS]) == (1, 1)
        client.close()
        worker.until(lambda: worker.row[Word.CONNECTIONS] == 0)
        worker.until(lambda: worker.row[Word.BEAT_NS] > 0)


def test_aborted_requests_leave_nothing_behind() -> None:
    """http.md 37: descriptors, tasks, counts."""
    app = Gate()
    with serving(app) as worker:
        clients = [worker.connect() for _ in range(10)]
        for number, client in enumerate(clients):
            client.sendall(request() if number % 2 else request()[:-5])
        worker.until(lambda: worker.row.in_flight == 5)
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        worker.until(lambda: worker.row[Word.CONNECTIONS] == 0 and worker.row.in_flight == 0)
        app.open.set()
        worker.until(lambda: not worker.tasks.service.running)
        assert worker.row.lanes() == []


def test_max_requests_asks_once() -> None:
    with serving(hello, max_requests=3) as worker:
        client = worker.connect()
        reader = Reader(client)
        for _ in range(6):
            client.sendall(request())
            assert reader.answer().status == 200
        assert len(worker.retired) == 1
        assert "max_requests" in worker.retired[0]


def test_hooks() -> None:
    calls: list[Any] = []
    with contextlib.closing(Worker(hello)) as worker:
        worker.hooks.pre_request = lambda request: calls.append(request.target)
        worker.hooks.post_request = lambda request, environ, response: calls.append(
            (request.target, environ["path"], response.status)
        )
        worker.start()
        assert fetch(worker, request("/x")).status == 200
    assert calls == [b"/x", (b"/x", "/x", 200)]


def test_hooks_that_raise() -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("hook")

    with contextlib.closing(Worker(hello)) as worker:
        worker.hooks.pre_request = fail
        worker.hooks.post_request = fail
        worker.start()
        assert fetch(worker, request()).status == 500
        assert len(worker.log.at("error")) == 2


def test_the_access_log() -> None:
    with serving(hello) as worker:
        fetch(worker, request("/x?y", headers="User-Agent: me\r\n"))
        (line,) = worker.access.lines
        asked = line.request
        assert (asked.method, asked.target, asked.version, line.status) == ("GET", b"/x?y", "1.1", 200)
        assert (line.peer, line.sent, line.scheme, line.aborted) == ("127.0.0.1", 13, "http", "")
        assert line.ended > line.started > 0


@pytest.fixture
def unix_listener(tmp_path: Path) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen(8)
    yield listener
    listener.close()


def test_unix_sockets(unix_listener: socket.socket, loop_kind: str) -> None:
    """asgi.md 14, 15, http.md 51, Django 7: client None, server (path, None); a trusted proxy names the
    client.
    """
    seen: list[Any] = []
    path = unix_listener.getsockname()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["client"], scope["server"], scope["scheme"]))
        await answer(send)

    with serving(http_only(app), listener=unix_listener, asgi_loop=loop_kind) as worker:
        fetch(worker, request())
        fetch(worker, request(headers="X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n"))
    assert seen[0] == (None, (path, None), "http")
    assert seen[1] == (("9.9.9.9", 0), (path, None), "https")


def test_a_unix_client_that_hangs_up_is_a_disconnect_at_once(unix_listener: socket.socket) -> None:
    """asgi.md 24: a unix socket tells a hang-up from a half-close."""
    told, waiting = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting.set()
        await receive()
        told.set()

    with serving(http_only(app), listener=unix_listener) as worker:
        client = worker.connect()
        client.sendall(request())
        assert waiting.wait(PATIENCE)
        client.close()
        assert told.wait(PATIENCE)
        worker.until(lambda: worker.row[Word.CONNECTIONS] == 0)


def test_tcp_ends(loop_kind: str) -> None:
    """asgi.md 14, 15."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["client"], scope["server"]))
        await answer(send)

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(request())
        Reader(client).answer()
        assert seen == [(client.getsockname(), worker.address)]
