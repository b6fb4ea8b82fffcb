"""Both WSGI kinds over real sockets: what must hold whichever thread runs the application."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import select
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

from arbiter.link.scoreboard import Scoreboard, State, Word
from arbiter.workers.context import RequestHooks
from tests.fakes.workers import FakeAccess, Served, listen

App = Callable[..., Any]


@pytest.fixture(params=["sync", "threaded"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serve(kind: str) -> Iterator[Callable[..., Served]]:
    """Start a dispatcher; it is stopped after the test."""
    running: list[Served] = []

    def start(app: App, **options: Any) -> Served:
        served = Served(kind, app, **options)
        running.append(served.__enter__())
        return served

    yield start
    for served in running:
        served.__exit__(None, None, None)


def hello(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def echo(environ: Any, start_response: Any) -> Any:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Length", environ.get("CONTENT_LENGTH", "none"))])
    return [body]


def show(*names: str) -> App:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return ["\n".join(repr(environ.get(name)) for name in names).encode()]

    return app


def seen(body: bytes) -> list[str]:
    return body.decode().split("\n")


def same(got: bytes, wanted: bytes) -> bool:
    """Compared here, so that a failure does not print megabytes."""
    return got == wanted


def descriptors() -> set[int]:
    """What this process has open."""
    found = set()
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the one that listdir used
            os.fstat(int(name))
            found.add(int(name))
    return found


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something another thread is about to do."""
    limit = time.monotonic() + Served.LIMIT
    while not condition():
        assert time.monotonic() < limit, "it does not happen"
        select.select([], [], [], 0.005)


# -- connections


def test_keep_alive_and_pipelining(serve: Any) -> None:
    """http.md 33, 34: one connection, answers in order."""
    served = serve(lambda environ, start: (start("200 OK", []), [environ["PATH_INFO"].encode()])[1])
    with served.connect() as client:
        for n in range(3):
            client.request(f"/{n}")
            assert client.reply().body == b"/%d" % n
        client.send(b"".join(b"GET /p%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(50)))
        assert [client.reply().body for _ in range(50)] == [b"/p%d" % n for n in range(50)]
        client.request("/last", "Connection: close")
        reply = client.reply()
        assert reply.get("connection") == "close"
        assert client.closed()


def test_every_split_of_a_request(serve: Any) -> None:
    """http.md 32: and no request is lost in the splits."""
    served = serve(echo)
    data = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
    with served.connect() as client:
        for cut in range(1, len(data), 7):
            client.send(data[:cut])
            client.send(data[cut:])
            assert client.reply().body == b"12345"
            assert client.reply().body == b""


def test_half_closed_client_is_answered(serve: Any) -> None:
    """wsgi.md 48; http.md 36."""
    served = serve(echo)
    with served.connect() as client:
        client.request(method="POST", body=b"abc")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.reply().body == b"abc"
        assert client.closed()
    with served.connect() as client:
        client.send(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
        client.sock.shutdown(socket.SHUT_WR)
        assert [client.reply().status, client.reply().status] == [200, 200]
        assert client.closed()


def test_bad_request_is_answered_and_closed(serve: Any) -> None:
    """http.md 1-18, 48: 400 without calling the application; counted."""
    calls: list[Any] = []
    served = serve(lambda environ, start: calls.append(environ))
    with served.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
        reply = client.reply()
        assert (reply.status, reply.get("connection")) == (400, "close")
        assert client.closed()
    assert not calls
    eventually(lambda: served.row[Word.BAD_REQUESTS] == 1)


def test_refused_upload_can_read_its_answer(serve: Any) -> None:
    """http.md (refuse): a lingering close; the peer that is still sending is not reset before it has read."""
    served = serve(hello, limit_request_body=1000)
    with served.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + b"x" * 20_000)
        assert client.reply().status == 413
        client.send(b"x" * 20_000)
        assert client.closed()


def test_silence_after_connect_and_reset_leave_nothing(serve: Any) -> None:
    """http.md 37: no connection is left over."""
    served = serve(echo)
    served.connect().sock.close()
    half = served.connect()
    half.send(b"GET / HT")
    half.sock.close()
    cut = served.connect()
    cut.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123")
    cut.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    cut.sock.close()
    assert served.get().status == 200
    eventually(lambda: served.row[Word.CONNECTIONS] == 0 and served.row[Word.ACCEPTED] == 4)
    assert served.row.in_flight == 0
    assert served.row[Word.REQUESTS] == 1


def test_connection_settings(serve: Any) -> None:
    """Accepted sockets do not reach children and do not wait for more to send."""
    served = serve(hello)
    with served.connect() as client:
        client.request()
        client.reply()
        [conn] = served.dispatcher.connections.values()
        assert not conn.sock.get_inheritable()
        assert conn.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not conn.sock.getblocking()


# -- environ


def test_environ_of_a_tcp_client(serve: Any, kind: str) -> None:
    """wsgi.md 14, 15, 17."""
    names = (
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "SERVER_NAME",
        "SERVER_PORT",
        "wsgi.multithread",
        "wsgi.multiprocess",
    )
    served = serve(show(*names), workers=3)
    with served.connect() as client:
        client.request()
        got = seen(client.reply().body)
        port = client.sock.getsockname()[1]
    threads = str(kind == "threaded")
    assert got == ["'127.0.0.1'", f"'{port}'", "'127.0.0.1'", f"'{served.address[1]}'", threads, "True"]


def test_environ_of_a_unix_client(serve: Any, tmp_path: Path) -> None:
    """wsgi.md 14, 15; http.md 51."""
    listener = listen(socket.AF_UNIX, str(tmp_path / "s"))
    served = serve(show("REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT"), listeners=[listener])
    assert seen(served.get().body) == ["''", "None", "'localhost'", "'80'"]


def test_server_name_behind_a_wildcard(serve: Any) -> None:
    """wsgi.md 15: the address the client came to, not 0.0.0.0."""
    listener = socket.socket()
    listener.bind(("0.0.0.0", 0))
    listener.listen()
    served = serve(show("SERVER_NAME"), listeners=[listener])
    served.address = ("127.0.0.1", listener.getsockname()[1])
    assert seen(served.get().body) == ["'127.0.0.1'"]


def test_trusted_proxy(serve: Any, tmp_path: Path) -> None:
    """http.md 49: believed from trusted peers, unix sockets among them."""
    names = ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "SCRIPT_NAME", "PATH_INFO")
    fields = (
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: www.example",
        "X-Forwarded-Prefix: /app",
    )
    believed = ["'203.0.113.9'", "'https'", "'www.example'", "'/app'", "'/x'"]
    assert seen(serve(show(*names)).get("/x", *fields).body) == believed
    listener = listen(socket.AF_UNIX, str(tmp_path / "s"))
    assert seen(serve(show(*names), listeners=[listener]).get("/x", *fields).body) == believed
    stranger = serve(show(*names), forwarded_allow_ips=())
    assert seen(stranger.get("/x", *fields).body) == ["'127.0.0.1'", "'http'", "'test'", "''", "'/x'"]


def test_contradicting_proxy_is_refused(serve: Any) -> None:
    """http.md 49: what a trusted proxy says must make sense."""
    served = serve(hello)
    assert served.get("/", "X-Forwarded-Port: nonsense").status == 400
    assert served.get().status == 200
    eventually(lambda: served.row.in_flight == 0)


def test_script_name_of_a_trusted_proxy(serve: Any) -> None:
    """As gunicorn: `forwarder_headers` lets SCRIPT_NAME through, from trusted peers only."""
    assert seen(serve(show("SCRIPT_NAME", "PATH_INFO")).get("/a/b", "SCRIPT_NAME: /a").body) == [
        "'/a'",
        "'/b'",
    ]
    stranger = serve(show("SCRIPT_NAME", "PATH_INFO"), forwarded_allow_ips=())
    assert seen(stranger.get("/a/b", "SCRIPT_NAME: /a").body) == ["''", "'/a/b'"]


def test_proxy_protocol(serve: Any) -> None:
    """http.md 50: required means required; malformed closes."""
    served = serve(show("REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT"), proxy_protocol="auto")
    line = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n"
    with served.connect() as client:
        client.send(line[:10])
        client.send(line[10:] + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert seen(client.reply().body) == ["'203.0.113.9'", "'4711'", "'192.0.2.1'", "'443'"]
        client.request()
        assert seen(client.reply().body)[0] == "'203.0.113.9'"
    with served.connect() as client:
        client.send(line)
        client.request()
        assert client.reply().status == 200
    for bad in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PROXY nonsense\r\n"):
        with served.connect() as client:
            client.send(bad)
            assert client.closed()
    assert len(served.log.of("info")) == 2
    served.connect().sock.close()
    stranger = serve(show("REMOTE_ADDR"), proxy_protocol="v1", proxy_allow_ips=())
    assert seen(stranger.get().body) == ["'127.0.0.1'"]


# -- request bodies


@pytest.mark.parametrize("size", [0, 1, 5000, 300_000])
def test_body_with_a_length(serve: Any, size: int) -> None:
    """wsgi.md 19, 25: in memory and, past body_spool, in a file."""
    served = serve(echo, body_spool=10_000)
    body = os.urandom(size)
    with served.connect() as client:
        for _ in range(2):
            client.request(method="POST", body=body)
            reply = client.reply()
            assert reply.body == body
            assert reply.get("x-length") == str(size)


def test_chunked_body(serve: Any) -> None:
    """wsgi.md 24, 25: readable to its end, CONTENT_LENGTH set."""
    served = serve(echo)
    with served.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"3\r\nabc\r\n")
        client.send(b"2;x=y\r\nde\r\n0\r\n\r\n")
        reply = client.reply()
        assert (reply.body, reply.get("x-length")) == (b"abcde", "5")
        client.request("/next")
        assert client.reply().status == 200


def test_slow_client_holds_nobody(serve: Any) -> None:
    """wsgi.md (requirement): the application sees complete requests only."""
    calls: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        calls.append(environ["REQUEST_METHOD"])
        return echo(environ, start_response)

    served = serve(app, threads=1)
    with served.connect() as slow:
        slow.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        assert served.get().status == 200
        assert calls == ["GET"]
        slow.send(b"67890")
        assert slow.reply().body == b"1234567890"


def test_cut_body_is_never_presented_as_whole(serve: Any) -> None:
    """wsgi.md 26; http.md 28."""
    calls: list[int] = []
    served = serve(lambda environ, start: calls.append(1))
    with served.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.closed()
    assert not calls


def test_no_place_for_a_body(serve: Any, tmp_path: Path) -> None:
    """The client gets a 500, the log says which directory to look at."""
    served = serve(echo, body_spool=10, tmp_upload_dir=str(tmp_path / "missing"))
    with served.connect() as client:
        client.request(method="POST", body=b"x" * 100)
        assert client.reply().status == 500
    [text] = served.log.of("error")
    assert "missing" in text
    assert "tmp_upload_dir" in text


def test_unread_body_does_not_disturb_the_next_request(serve: Any) -> None:
    """wsgi.md 28."""
    served = serve(hello)
    with served.connect() as client:
        for _ in range(3):
            client.request(method="POST", body=b"GET /smuggled HTTP/1.1\r\n\r\n" * 100)
            assert client.reply().body == b"hello"


# -- 100-continue


EXPECT = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"


def test_continue_is_sent_on_the_first_read(serve: Any) -> None:
    """wsgi.md 27; http.md 38."""
    reading = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        assert reading.wait(Served.LIMIT)
        return echo(environ, start_response)

    served = serve(app)
    with served.connect() as client:
        client.send(EXPECT)
        client.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.read()
        client.sock.settimeout(Served.LIMIT)
        reading.set()
        assert client.reply().status == 100
        client.send(b"12")
        client.send(b"345GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.reply().body == b"12345"
        assert client.reply().status == 200


def test_continue_after_start_response(serve: Any) -> None:
    """http.md 38: what counts is whether an answer is on the wire."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    served = serve(app)
    with served.connect() as client:
        client.send(EXPECT)
        assert client.reply().status == 100
        client.send(b"12345")
        assert client.reply().body == b"12345"


def test_no_continue_when_the_body_is_not_read(serve: Any) -> None:
    """http.md 38: a final answer without it closes."""
    served = serve(hello)
    with served.connect() as client:
        client.send(EXPECT)
        reply = client.reply()
        assert (reply.status, reply.get("connection")) == (200, "close")
        assert client.closed()


def test_no_continue_when_the_body_came_along(serve: Any) -> None:
    """http.md 38."""
    served = serve(echo)
    with served.connect() as client:
        client.send(EXPECT + b"12345")
        reply = client.reply()
        assert (reply.status, reply.body, reply.get("x-length")) == (200, b"12345", "5")


def test_continue_of_a_chunked_body(serve: Any) -> None:
    """wsgi.md 25, 27: its size has to be known first, so the server asks for it itself."""
    served = serve(echo)
    with served.connect() as client:
        client.send(EXPECT.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked"))
        assert client.reply().status == 100
        client.send(b"3\r\nabc\r\n0\r\n\r\n")
        reply = client.reply()
        assert (reply.body, reply.get("x-length")) == (b"abc", "3")


def test_partly_read_body_is_skipped(serve: Any) -> None:
    """http.md 30: drained to a bound before the next request."""

    def app(environ: Any, start_response: Any) -> Any:
        first = environ["wsgi.input"].read(2)
        return hello(environ, start_response) if first in (b"12", b"") else []

    served = serve(app)
    with served.connect() as client:
        client.send(EXPECT.replace(b"Length: 5", b"Length: 5000"))
        assert client.reply().status == 100
        client.send(b"12")
        assert client.reply().status == 200
        client.send(b"x" * 4998 + b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.reply().status == 200


def test_body_that_breaks_while_it_is_read(serve: Any) -> None:
    """wsgi.md 26: the application gets an OSError, the log no traceback: it is the client's doing."""
    caught: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        try:
            return echo(environ, start_response)
        except OSError as error:
            caught.append(error)
            raise

    served = serve(app)
    with served.connect() as client:
        client.send(EXPECT)
        assert client.reply().status == 100
        client.send(b"12")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.closed()
    assert "early" in str(caught[0])
    assert not served.log.of("error", "warning")
    assert served.get().status == 200


def test_silent_body_while_it_is_read(serve: Any) -> None:
    """http.md 35: 408, and the worker is free again."""
    served = serve(echo, body_timeout=0.2)
    with served.connect() as client:
        client.send(EXPECT)
        assert client.reply().status == 100
        reply = client.reply()
        assert (reply.status, reply.get("connection")) == (408, "close")
    assert served.get().status == 200


# -- time limits


def test_idle_connection_is_closed_in_silence(serve: Any) -> None:
    """http.md 35: keepalive."""
    served = serve(hello, keepalive=0.1)
    with served.connect() as client:
        client.request()
        assert client.reply().status == 200
        assert client.closed()


def test_no_keepalive(serve: Any) -> None:
    served = serve(hello, keepalive=0)
    with served.connect() as client:
        client.request()
        assert client.reply().get("connection") == "close"
        assert client.closed()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"GET / HTTP/1.1\r\nHos", 408),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n1", 408),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /sec", 408),
    ],
)
def test_slow_requests_are_ended(serve: Any, sent: bytes, status: int | None) -> None:
    """http.md 35: 408 where a request had begun, silence where none had."""
    served = serve(hello, header_timeout=0.1, body_timeout=0.1, keepalive=30)
    with served.connect() as client:
        client.send(sent)
        if sent.startswith(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            assert client.reply().status == 200
        if status is None:
            assert client.closed()
        else:
            assert client.reply().status == status
            assert client.closed()


def test_trickling_body_is_ended(serve: Any) -> None:
    """http.md 35: a minimum rate; a byte now and then does not keep a request alive."""
    served = serve(echo, body_timeout=0.3, body_min_rate=1_000_000)
    with served.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        client.sock.settimeout(0.05)
        reply = None
        limit = time.monotonic() + Served.LIMIT
        while reply is None and time.monotonic() < limit:
            try:
                client.send(b"x")
                reply = client.reply()
            except TimeoutError:
                continue
        assert reply is not None
        assert reply.status == 408


# -- answers


def test_large_answer_to_a_slow_reader_holds_nobody(serve: Any) -> None:
    """http.md 35: what the client does not take waits in memory, then in a file, not in a thread."""
    part = os.urandom(1 << 20)
    done = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/big":
            return hello(environ, start_response)
        start_response("200 OK", [("Content-Length", str(20 << 20))])

        def parts() -> Iterator[bytes]:
            for _ in range(20):
                yield part
            done.set()

        return parts()

    served = serve(app, threads=1, keepalive=60)
    with served.connect() as slow:
        slow.request("/big")
        assert done.wait(Served.LIMIT)
        assert served.get().body == b"hello"
        reply = slow.reply()
        assert reply.complete
        assert same(reply.body, part * 20)
        slow.request("/next")
        assert slow.reply().body == b"hello"


def test_client_that_takes_nothing_is_cut(serve: Any) -> None:
    """http.md 35: send_timeout, one record."""
    served = serve(lambda environ, start: (start("200 OK", []), [b"x" * (16 << 20)])[1], send_timeout=0.2)
    with served.connect(receive_buffer=4096) as client:
        client.request()
        eventually(lambda: served.row[Word.REQUESTS] == 1 and served.row[Word.CONNECTIONS] == 0)
    [text] = served.log.of("warning")
    assert "took nothing" in text
    assert "GET / from 127.0.0.1" in text


def test_disconnect_stops_a_producer(serve: Any) -> None:
    """wsgi.md 35, 36: iteration ends at a write, close() is called."""
    closed = threading.Event()

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 65536

        def close(self) -> None:
            closed.set()

    served = serve(lambda environ, start: (start("200 OK", []), Endless())[1])
    client = served.connect()
    client.request()
    client.read()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.sock.close()
    assert closed.wait(Served.LIMIT)
    assert not served.log.of("error")


@pytest.mark.parametrize("sendfile", [True, False])
def test_file_is_sent(serve: Any, tmp_path: Path, sendfile: bool) -> None:
    """wsgi.md 46: from its offset, at the client's pace, closed once, and at once."""
    content = os.urandom(16 << 20)
    path = tmp_path / "file"
    path.write_bytes(content)
    closed: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/file":
            return hello(environ, start_response)
        file = path.open("rb")
        file.seek(1000)
        close = file.close
        file.close = lambda: (closed.append(1), close())[1]  # type: ignore[method-assign]
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return environ["wsgi.file_wrapper"](file)

    served = serve(app, sendfile=sendfile, threads=1, keepalive=60)
    with served.connect() as slow:
        slow.request("/file")
        assert served.get().body == b"hello"
        assert closed == [1]
        reply = slow.reply()
        assert reply.get("content-length") == str(len(content) - 1000)
        assert same(reply.body, content[1000:])
        slow.request("/file", method="HEAD")
        assert slow.reply("HEAD").status == 200
        slow.request("/next")
        assert slow.reply().body == b"hello"


def test_visible_break_of_every_framing(serve: Any) -> None:
    """wsgi.md 37: chunked, by length and, reset, by the connection's end."""

    def app(environ: Any, start_response: Any) -> Any:
        headers = [("Content-Length", "100")] if environ["PATH_INFO"] == "/length" else []
        start_response("200 OK", headers)
        yield b"begun"
        raise ValueError("boom")

    served = serve(app)
    for target, version in (("/chunked", "1.1"), ("/length", "1.1"), ("/", "1.0")):
        reply = served.get(target, version=version)
        assert not reply.complete, (target, version)
    assert len(served.log.of("error")) == 3


def test_upgrade_is_answered_as_plain_http(serve: Any) -> None:
    """http.md 39."""
    reply = serve(hello).get("/", "Upgrade: websocket", "Connection: upgrade")
    assert (reply.status, reply.body) == (200, b"hello")
    assert serve(hello).get("/", "Upgrade: h2c", "Connection: upgrade, http2-settings").status == 200


def test_date_and_server(serve: Any) -> None:
    """http.md 46."""
    reply = serve(hello).get()
    assert reply.get("server") == "arbiter"
    assert (reply.get("date") or "").endswith(" GMT")
    assert serve(hello, server_header="").get().get("server") is None


def test_validator_over_the_wire(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """wsgi.md 50."""

    def app(environ: Any, start_response: Any) -> Any:
        environ["wsgi.errors"].write("seen\n")
        body = environ["wsgi.input"].read(5)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body, b"!"]

    served = serve(validator(app))
    with served.connect() as client:
        client.request(method="POST", body=b"12345")
        assert client.reply().body == b"12345!"
        client.request(method="HEAD")
        assert client.reply("HEAD").status == 200
    assert served.log.of("wsgi.errors") == ["seen", "seen"]


# -- an application that misbehaves


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(3), KeyError("x")])
def test_worker_survives_what_an_application_raises(serve: Any, error: BaseException) -> None:
    """One 500, one record with the request and the traceback, and life goes on."""

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/bad":
            raise error
        return hello(environ, start_response)

    served = serve(app)
    assert served.get("/bad").status == 500
    eventually(lambda: bool(served.log.of("error")))
    [(_level, text, logged)] = [record for record in served.log.records if record[0] == "error"]
    assert text == "GET /bad from 127.0.0.1: the application failed"
    assert logged is error
    assert served.get().body == b"hello"
    assert served.row[Word.STATUS_5XX] == 1


# -- observing


def test_counters(serve: Any) -> None:
    """The scoreboard knows what happened and what is happening."""
    inside = threading.Event()
    leave = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        inside.set()
        assert leave.wait(Served.LIMIT)
        return hello(environ, start_response)

    served = serve(app)
    with served.connect() as client:
        client.request("/slow")
        assert inside.wait(Served.LIMIT)
        [lane] = served.row.lanes()
        assert lane.text == "GET /slow"
        assert served.row.in_flight == 1
        leave.set()
        client.reply()
        eventually(lambda: served.row.in_flight == 0)
        assert served.row.lanes() == []
        assert served.row[Word.REQUESTS] == 1
        assert served.row[Word.STATUS_2XX] == 1
        assert served.row[Word.BYTES_OUT] == 5
        assert served.row[Word.CONNECTIONS] == 1
        assert served.row[Word.ACCEPTED] == 1
        assert served.row[Word.BEAT_NS]


def test_access_log(serve: Any) -> None:
    access = FakeAccess()
    served = serve(hello, access=access)
    served.get("/a?b=c", "User-Agent: test")
    eventually(lambda: len(access.exchanges) == 1)
    [exchange] = access.exchanges
    request = exchange.request
    assert (exchange.peer, request.method, request.target) == ("127.0.0.1", "GET", b"/a?b=c")
    assert (request.version, exchange.status, exchange.sent) == ("1.1", 200, 5)
    assert exchange.scheme == "http"
    assert exchange.environ["HTTP_USER_AGENT"] == "test"
    assert exchange.headers[1] == ("Content-Length", "5")
    assert exchange.aborted == ""
    assert exchange.ended > exchange.started


def test_request_hooks(serve: Any) -> None:
    calls: list[Any] = []
    hooks = RequestHooks(
        pre_request=lambda request: calls.append(request.method),
        post_request=lambda request, environ, response: calls.append(
            (environ["PATH_INFO"], response.status, response.status_code, response.headers, response.sent)
        ),
    )
    served = serve(hello, hooks=hooks)
    served.get("/x")
    eventually(lambda: len(calls) == 2)
    assert calls[0] == "GET"
    assert calls[1][:3] == ("/x", "200 OK", 200)
    assert calls[1][4] == 5


def test_failing_hooks_are_logged_and_harmless(serve: Any) -> None:
    def fail(*args: Any) -> None:
        raise ValueError("hook")

    served = serve(hello, hooks=RequestHooks(pre_request=fail, post_request=fail))
    assert served.get().status == 200
    eventually(lambda: served.log.of("error") == ["hook pre_request raised", "hook post_request raised"])


def test_max_requests(serve: Any) -> None:
    """The arbiter is asked once for a successor; until it comes everything is served."""
    served = serve(hello, max_requests=3)
    with served.connect() as client:
        for _ in range(8):
            client.request()
            assert client.reply().status == 200
    assert len(served.retired) == 1
    assert "max_requests" in served.retired[0]


# -- accepting


def test_connections_above_the_bound_wait(serve: Any) -> None:
    """worker_connections: what is above stays in the kernel's queue until there is room."""
    served = serve(hello, worker_connections=2)
    held = [served.connect() for _ in range(2)]
    for client in held:
        client.request()
        assert client.reply().status == 200
    third = served.connect()
    third.request()
    eventually(lambda: not served.dispatcher.acceptor.watching)
    assert served.row[Word.CONNECTIONS] == 2
    held[0].sock.close()
    assert third.reply().body == b"hello"


def test_several_listeners(serve: Any, tmp_path: Path) -> None:
    one, two = listen(), listen(socket.AF_UNIX, str(tmp_path / "s"))
    served = serve(hello, listeners=[one, two])
    assert served.get().status == 200
    served.family, served.address = socket.AF_UNIX, two.getsockname()
    assert served.get().status == 200


def test_ipv6(serve: Any) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        listener = listen(socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    served = serve(show("REMOTE_ADDR", "SERVER_NAME"), listeners=[listener])
    assert seen(served.get().body) == ["'::1'", "'::1'"]


# -- stopping


def test_drain_answers_what_is_queued_and_what_has_begun(serve: Any) -> None:
    """http.md 40: the last answer says close; the queue is emptied; idle connections get a grace."""
    inside = threading.Event()
    leave = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/slow":
            inside.set()
            assert leave.wait(Served.LIMIT)
        return hello(environ, start_response)

    served = serve(app, threads=2)
    idle = served.connect()
    idle.request()
    assert idle.reply().get("connection") is None
    busy = served.connect()
    busy.request("/slow")
    assert inside.wait(Served.LIMIT)
    queued = served.connect()
    queued.request("/queued")
    served.drain()
    leave.set()
    reply = busy.reply()
    assert (reply.body, reply.complete) == (b"hello", True)
    assert queued.reply().body == b"hello"
    served.join()
    assert served.status == 0
    assert idle.closed()
    assert served.row[Word.STATE] == State.DRAINING
    assert served.row[Word.CONNECTIONS] == 0
    assert not served.log.of("warning", "error")


def test_a_worker_that_is_replaced_leaves_the_queue(serve: Any) -> None:
    """A reload: what is queued is for the successor, who holds the same listener."""
    served = serve(hello, worker_connections=1)
    served.orders.alone = False
    held = served.connect()
    held.request()
    assert held.reply().status == 200
    queued = served.connect()
    queued.request("/queued")
    served.drain()
    served.join()
    assert held.closed()
    [listener] = served.listeners
    successor, _ = listener.accept()
    with successor:
        successor.settimeout(Served.LIMIT)
        assert successor.recv(100).startswith(b"GET /queued ")


def test_request_that_races_the_close_is_answered(serve: Any) -> None:
    """http.md 40."""
    served = serve(hello)
    client = served.connect()
    client.request()
    client.reply()
    served.drain()
    eventually(lambda: served.dispatcher.draining)
    client.request("/racing")
    reply = client.reply()
    assert (reply.body, reply.get("connection")) == (b"hello", "close")
    served.join()


def test_drain_of_an_idle_worker_is_quick(serve: Any) -> None:
    served = serve(hello)
    served.drain()
    served.join()
    assert served.status == 0


def test_answer_on_its_way_is_finished_while_draining(serve: Any) -> None:
    """Nothing is lost: the outbox is flushed before the worker leaves."""
    body = os.urandom(16 << 20)
    served = serve(lambda environ, start: (start("200 OK", []), [body])[1])
    client = served.connect()
    client.request()
    eventually(lambda: served.row[Word.REQUESTS] == 1)
    served.drain()
    eventually(lambda: served.dispatcher.draining)
    reply = client.reply()
    assert same(reply.body, body)
    served.join()
    assert not served.log.of("warning", "error")


def test_what_is_late_is_cut_and_named(serve: Any) -> None:
    """At the deadline: one record for each request."""
    served = serve(lambda environ, start: (start("200 OK", []), [b"x" * (16 << 20)])[1], graceful_timeout=0.2)
    client = served.connect(receive_buffer=4096)
    client.request("/big")
    eventually(lambda: served.row[Word.REQUESTS] == 1)
    served.drain()
    served.join()
    [text] = served.log.of("warning")
    assert text.startswith("cut GET /big from 127.0.0.1 after ")
    assert text.endswith("graceful_timeout was over")


def test_quit_leaves_at_once(serve: Any) -> None:
    served = serve(hello)
    with served.connect() as client:
        client.request()
        client.reply()
        served.orders.obey(signal.SIGQUIT)
        served.join()
        assert client.closed()
    assert served.status == 0


def test_nothing_is_left_open(kind: str) -> None:
    """http.md 37: descriptors."""
    board = Scoreboard(1)
    gc.collect()  # what other tests have left to it
    before = descriptors()
    with Served(kind, hello, board=board) as served:
        for _ in range(5):
            served.get()
        with served.connect() as client:
            client.request(method="POST", body=b"x" * 100)
            client.reply()
        served.connect().send(b"GET")
    assert descriptors() <= before


def test_large_head_then_pipelined_requests_beyond_the_bound(serve: Any) -> None:
    """http.md 34: the number in flight is bounded by bytes; none of them is lost."""
    served = serve(hello, limit_request_pipeline=1000)
    with served.connect() as client:
        sender = threading.Thread(
            target=client.send, args=(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 500 + b"\r\n\r\n",)
        )
        sender.start()
        sender.join()
        client.send(b"GET /more HTTP/1.1\r\nHost: x\r\n\r\n" * 3000)
        assert all(client.reply().status == 200 for _ in range(3001))


def test_temporary_body_files_are_closed(serve: Any) -> None:
    """http.md 37: also when the application keeps the input."""
    kept: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        kept.append(environ["wsgi.input"])
        return hello(environ, start_response)

    served = serve(app, body_spool=10)
    with served.connect() as client:
        client.request(method="POST", body=b"x" * 100)
        client.reply()
    eventually(lambda: kept[0].closed)
    assert not isinstance(kept[0], io.BytesIO)
    assert tempfile.gettempdir()
