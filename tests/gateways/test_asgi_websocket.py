"""receive() and send() of WebSockets, with a real worker and a real client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from arbiter.errors import PeerGone, ResponseError
from arbiter.link.scoreboard import Word
from tests.fakes.asgi_apps import App, Receive, Scope, Send, http_only
from tests.fakes.asgi_worker import PATIENCE, Reader, Worker, request, serving

HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def client_of(worker: Worker, **options: Any) -> ClientConnection:
    sock = socket.create_connection(worker.address, PATIENCE)
    worker.clients.append(sock)
    return connect("ws://test/ws?q", sock=sock, proxy=None, close_timeout=PATIENCE, **options)


async def accept(receive: Receive, send: Send, **more: Any) -> None:
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **more})


@http_only
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(receive, send)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})


class Listener:
    """Accepts and keeps every message it gets."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.over = threading.Event()
        self.scope: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise ValueError(scope["type"])
        self.scope = scope
        await accept(receive, send)
        while True:
            self.messages.append(await receive())
            if self.messages[-1]["type"] == "websocket.disconnect":
                self.messages.append(await receive())
                self.over.set()
                return


@pytest.mark.parametrize("compression", ["deflate", None])
def test_echo(compression: str | None, loop_kind: str) -> None:
    """asgi.md 76: text and bytes, empty ones too, both ways."""
    with serving(echo, asgi_loop=loop_kind) as worker, client_of(worker, compression=compression) as client:
        for message in ("häh", b"\0\xff", "", b"", "x" * 100_000, bytes(300_000)):
            client.send(message)
            assert client.recv(PATIENCE) == message
        client.send(["frag", "ment", "ed"])
        assert client.recv(PATIENCE) == "fragmented"
        client.ping().wait(PATIENCE)
        assert worker.row[Word.WEBSOCKETS] == 1
    assert worker.log.at("error", "warning") == []


def test_what_the_application_gets() -> None:
    """asgi.md 1, 6, 76, 79."""
    app = Listener()
    with serving(app) as worker:
        with client_of(worker) as client:
            client.send("text")
            client.send(b"bytes")
            client.close(4001, "enough")
        assert app.over.wait(PATIENCE)
        worker.until(lambda: worker.row[Word.WEBSOCKETS] == 0)
        (line,) = worker.access.lines
        assert (line.status, line.request.target, line.scheme) == (101, b"/ws?q", "ws")
    end = {"type": "websocket.disconnect", "code": 4001, "reason": "enough"}
    assert app.messages == [
        {"type": "websocket.receive", "text": "text", "bytes": None},
        {"type": "websocket.receive", "text": None, "bytes": b"bytes"},
        end,
        end,
    ]
    assert (app.scope["type"], app.scope["scheme"], app.scope["path"]) == ("websocket", "ws", "/ws")
    assert app.scope["query_string"] == b"q"


@pytest.mark.parametrize("how", ["none", "lost", "reset"])
def test_ends_without_a_code(how: str, loop_kind: str) -> None:
    """asgi.md 79: 1005 for a close without a code, 1006 when the socket just died."""
    app = Listener()
    with serving(app, asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(request(headers=HANDSHAKE))
        assert Reader(client).head()[0] == 101
        if how == "none":
            client.sendall(b"\x88\x80\0\0\0\0")
        else:
            if how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        assert app.over.wait(PATIENCE)
    assert app.messages[0] == {
        "type": "websocket.disconnect",
        "code": 1005 if how == "none" else 1006,
        "reason": "",
    }


# ---------------------------------------------------------------- the handshake


def handshake(app: App, headers: str = HANDSHAKE, method: str = "GET") -> tuple[Any, Worker]:
    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request(headers=headers, method=method))
        return Reader(client).answer(), worker


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("must not be called")


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [("Version: 13", "Version: 12", 426), ("Key: d", "Kez: d", 400), ("Q==", "Q=", 400)],
)
def test_bad_handshakes(old: str, new: str, status: int) -> None:
    """asgi.md 83: without the application."""
    got, worker = handshake(never, HANDSHAKE.replace(old, new))
    assert got.status == status
    assert (got["sec-websocket-version"] == "13") == (status == 426)
    assert worker.log.at("error") == []


def test_a_post_is_not_upgraded() -> None:
    """asgi.md 83: it is a plain request."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    assert handshake(app, method="POST")[0].status == 200
    assert seen == ["http"]


def test_nothing_is_sent_before_accept() -> None:
    """asgi.md 71: and what an impatient client sends is not lost."""
    gate = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.get_running_loop().run_in_executor(None, gate.wait, PATIENCE)
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"] + "!"})

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request(headers=HANDSHAKE) + b"\x81\x82\0\0\0\0hi")
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(PATIENCE)
        gate.set()
        reader = Reader(client)
        assert reader.head()[0] == 101
        assert reader.exactly(5) == b"\x81\x03hi!"


def test_close_before_accept() -> None:
    """asgi.md 71: 403."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4000})
        assert (await receive())["type"] == "websocket.disconnect"

    got, worker = handshake(app)
    assert got.status == 403
    assert worker.log.at("error") == []


@pytest.mark.parametrize("returns", [True, False])
def test_failures_before_accept(returns: bool) -> None:
    """asgi.md 72: 500 and one record."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if not returns:
            raise SystemExit("no websocket today")

    got, worker = handshake(app)
    assert got.status == 500
    assert len(worker.log.at("error")) == 1


@pytest.mark.parametrize(
    "error", [ValueError("only ASGI/HTTP connections, not websocket."), AssertionError()]
)
def test_applications_that_speak_only_http(error: Exception) -> None:
    """asgi.md Django 1: refused quietly, one line the first time."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    with serving(http_only(app)) as worker:
        for _ in range(3):
            client = worker.connect()
            client.sendall(request(headers=HANDSHAKE))
            assert Reader(client).answer().status == 403
        assert worker.log.at("error") == []
        assert len([text for text in worker.log.at("info") if "WebSocket" in text]) == 1


def test_denial_response() -> None:
    """asgi.md 73: several parts."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "websocket.http.response" in scope["extensions"]
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-a", b"1")]})
        await send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"you"})
        assert (await receive())["type"] == "websocket.disconnect"

    got, worker = handshake(app)
    assert (got.status, got["x-a"], got.body, got["connection"]) == (401, "1", b"not you", "close")
    worker.until(lambda: worker.access.lines)
    assert worker.access.lines[0].status == 401
    assert worker.log.at("error") == []


def test_a_denial_that_stays_unfinished() -> None:
    """asgi.md 73, 47."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401})
        await send({"type": "websocket.http.response.body", "body": b"half", "more_body": True})

    got, worker = handshake(app)
    assert not got.ended
    assert len(worker.log.at("error")) == 1


def test_accept() -> None:
    """asgi.md 74, 75: the subprotocol must be offered, headers are sent."""
    errors: list[Exception] = []
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["subprotocols"])
        await receive()
        for bad in ({"subprotocol": "z"}, {"headers": [(b"sec-websocket-protocol", b"a")]}):
            try:
                await send({"type": "websocket.accept", **bad})
            except ResponseError as error:
                errors.append(error)
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-a", b"1")]})

    with serving(http_only(app)) as worker, client_of(worker, subprotocols=["a", "b"]) as client:
        assert client.subprotocol == "b"
        assert client.response is not None and client.response.headers["x-a"] == "1"
    assert seen == [["a", "b"]]
    assert len(errors) == 2


def test_an_invisible_handshake_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """asgi.md 84: an application that never answers."""
    monkeypatch.setattr("arbiter.workers.asgi_websocket.HANDSHAKE_SECONDS", 0.01)
    seen: list[Any] = []
    over = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.append(await receive())
        over.set()

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request(headers=HANDSHAKE))
        assert Reader(client).answer().status == 503
        assert over.wait(PATIENCE)
    assert seen[0]["code"] == 1006


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.send"},
        {"type": "websocket.send", "text": "a", "bytes": b"a"},
        {"type": "websocket.send", "text": None, "bytes": None},
        {"type": "websocket.send", "text": b"a"},
        {"type": "websocket.send", "bytes": "a"},
        {"type": "websocket.send", "text": "\ud800"},
        {"type": "websocket.accept"},
        {"type": "websocket.http.response.start", "status": 200},
        {"type": "websocket.close", "code": 1005},
        {"type": "websocket.close", "code": 1000, "reason": "x" * 124},
        {"text": "a"},
    ],
    ids=repr,
)
def test_bad_messages(message: dict[str, Any]) -> None:
    """asgi.md 77, 41: raise, and the connection goes on."""
    errors: list[Exception] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        try:
            await send(message)
        except ResponseError as error:
            errors.append(error)
        await send({"type": "websocket.send", "text": "still here"})

    with serving(http_only(app)) as worker, client_of(worker) as client:
        assert client.recv(PATIENCE) == "still here"
    assert len(errors) == 1


@pytest.mark.parametrize(
    ("ends", "code", "reason"),
    [
        ("return", 1000, ""),
        ("raise", 1011, ""),
        ("close", 1000, ""),
        ("close 4002", 4002, "for a reason"),
    ],
)
def test_ends_by_the_application(ends: str, code: int, reason: str, loop_kind: str) -> None:
    """asgi.md 80, 81."""
    after: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        if ends == "raise":
            raise RuntimeError("consumer broke")
        if ends == "close":
            await send({"type": "websocket.close"})
        if ends == "close 4002":
            await send({"type": "websocket.close", "code": 4002, "reason": "for a reason"})
            after.append(await receive())
            for kind in ("websocket.send", "websocket.close"):
                try:
                    await send({"type": kind, "text": "x"})
                except ResponseError as error:
                    after.append(error)

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        with client_of(worker) as client, pytest.raises(ConnectionClosed):
            client.recv(PATIENCE)
        assert (client.close_code, client.close_reason) == (code, reason)
        worker.until(lambda: worker.row[Word.WEBSOCKETS] == 0)
        assert len(worker.log.at("error")) == (1 if ends == "raise" else 0)
    if ends == "close 4002":
        assert after[0] == {"type": "websocket.disconnect", "code": 4002, "reason": "for a reason"}
        assert len(after) == 3


def test_send_after_the_client_left() -> None:
    """asgi.md 44, 45: an OSError that may escape unlogged; a close is not a mistake."""
    errors: list[Exception] = []
    over = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        assert (await receive())["type"] == "websocket.disconnect"
        await send({"type": "websocket.close"})
        try:
            await send({"type": "websocket.send", "text": "x"})
        except OSError as error:
            errors.append(error)
            over.set()
            raise

    with serving(http_only(app)) as worker:
        with client_of(worker):
            pass
        assert over.wait(PATIENCE)
        worker.until(lambda: not worker.tasks.service.running)
        assert worker.log.at("error") == []
    assert isinstance(errors[0], PeerGone)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), 1002),
        (b"\x82\xff" + (1 << 40).to_bytes(8, "big"), 1009),
        (b"\x81\x81\0\0\0\0\xff", 1007),
    ],
)
def test_faults_of_the_client(data: bytes, code: int) -> None:
    """asgi.md 82: a close frame with the code, and the application hears of it."""
    app = Listener()
    with serving(app, websocket_max_message_size=100_000) as worker:
        client = worker.connect()
        client.sendall(request(headers=HANDSHAKE))
        reader = Reader(client)
        assert reader.head()[0] == 101
        client.sendall(data)
        frame = reader.exactly(4)
        assert (frame[0], int.from_bytes(frame[2:], "big")) == (0x88, code)
        reader.rest()
        assert app.over.wait(PATIENCE)
    assert app.messages[0]["code"] == code


def test_back_pressure_on_what_the_client_sends() -> None:
    """asgi.md 28 for WebSockets: an application that does not receive stops the client."""
    gate = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await asyncio.get_running_loop().run_in_executor(None, gate.wait, PATIENCE)
        count = 0
        while count < 2000:
            count += len((await receive())["bytes"]) // 10_000
        await send({"type": "websocket.send", "text": str(count)})

    with serving(http_only(app)) as worker, client_of(worker, compression=None) as client:
        sending = threading.Thread(target=lambda: [client.send(bytes(10_000)) for _ in range(2000)])
        sending.start()
        worker.until(lambda: any(not getattr(c, "reading", True) for c in worker.tasks.service.connections))
        (cycle,) = worker.tasks.service.running
        assert cycle.held < 1 << 20  # type: ignore[union-attr]
        gate.set()
        assert client.recv(PATIENCE) == "2000"
        sending.join(PATIENCE)


def test_back_pressure_on_what_the_application_sends() -> None:
    """asgi.md 32 for WebSockets."""
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        for number in range(32):
            await send({"type": "websocket.send", "bytes": bytes(1 << 20)})
            sent.append(number)

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(request(headers=HANDSHAKE))
        worker.until(
            lambda: [c for c in worker.tasks.service.connections if getattr(c, "write_paused", False)]
        )
        assert len(sent) < 30
        reader = Reader(client)
        reader.head()
        reader.exactly(32 * ((1 << 20) + 10))
    assert len(sent) == 32


# ---------------------------------------------------------------- time


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbiter.workers.dispatch.tasks.TICK", 0.02)


@pytest.mark.usefixtures("quick")
def test_pings_find_a_dead_client() -> None:
    """asgi.md 84: a client that answers stays, one that does not is closed."""
    app = Listener()
    with serving(app, websocket_ping_interval=0.05, websocket_ping_timeout=0.05) as worker:
        client = worker.connect()
        client.sendall(request(headers=HANDSHAKE))
        reader = Reader(client)
        reader.head()
        for _ in range(3):
            assert reader.exactly(2) == b"\x89\x00"
            client.sendall(b"\x8a\x80\0\0\0\0")
        assert not app.over.is_set()
        assert b"keepalive ping timeout" in reader.rest()
        assert app.over.wait(PATIENCE)
    assert app.messages[0]["code"] == 1006


@pytest.mark.usefixtures("quick")
def test_a_close_that_is_not_answered() -> None:
    """asgi.md 84: the closing handshake is bounded."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)

    with serving(http_only(app), websocket_close_timeout=0.05) as worker:
        client = worker.connect()
        client.sendall(request(headers=HANDSHAKE))
        reader = Reader(client)
        reader.head()
        assert reader.rest() == b"\x88\x02\x03\xe8"
        worker.until(lambda: worker.row[Word.CONNECTIONS] == 0)


def test_drain() -> None:
    """asgi.md 84: 1012, and a moment for the echo; the application hears of it."""
    app = Listener()
    with serving(app) as worker:
        with client_of(worker) as client:
            worker.drain()
            with pytest.raises(ConnectionClosed):
                client.recv(PATIENCE)
        assert client.close_code == 1012
        assert worker.wait() == 0
    assert app.messages[0]["code"] == 1012
    assert worker.log.at("error", "warning") == []


@pytest.mark.parametrize("answers", [True, False])
def test_a_handshake_that_waits_when_the_worker_drains(answers: bool) -> None:
    """Accepted late, it is 101 and 1012; not at all, it is a 503 at the end of the time."""
    go_on, heard = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        heard.set()
        if answers:
            await asyncio.to_thread(go_on.wait, PATIENCE)
            await send({"type": "websocket.accept"})
        await receive()

    with serving(http_only(app)) as worker:
        client = worker.connect()
        client.sendall(request(headers=HANDSHAKE))
        assert heard.wait(PATIENCE)
        worker.drain(10.0 if answers else 0.3)
        go_on.set()
        reader = Reader(client)
        assert reader.head()[0] == (101 if answers else 503)
        if answers:
            assert reader.exactly(4) == b"\x88\x15\x03\xf4"
            client.sendall(b"\x88\x80\0\0\0\0")
        assert worker.wait() == 0


def test_quit() -> None:
    app = Listener()
    with serving(app) as worker, contextlib.suppress(ConnectionError), client_of(worker):
        worker.quit()
        assert worker.wait() == 0
    assert len(worker.log.at("warning")) == 1


def test_refused_by_status() -> None:
    """What a real client makes of a refusal."""
    with serving(http_only(never)) as worker, pytest.raises(InvalidStatus), client_of(worker):
        pass
