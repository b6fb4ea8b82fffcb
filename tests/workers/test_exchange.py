"""What applications are given and what becomes of their answers: both WSGI kinds over real sockets."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from wsgiref.validate import validator

import pytest

from arbiter.link.scoreboard import Word
from arbiter.workers import connection, conversation, exchange
from arbiter.workers.context import RequestHooks
from arbiter.workers.exchange import Answered, describe
from tests.fakes.workers import FakeAccess, FakeLog, Served, listen
from tests.fakes.wsgi_apps import eventually, hello, same, seen, show

RESET = struct.pack("ii", 1, 0)
"""Linger for no time: a close is a reset."""

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


def test_client_that_takes_something_is_not_cut(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """http.md 35: progress counts, also where it makes no room that the kernel tells of."""
    left = [80, 80]
    monkeypatch.setattr(conversation, "queued", lambda fd: 90)
    monkeypatch.setattr(connection, "queued", lambda fd: left.pop(0))
    served = serve(lambda environ, start: (start("200 OK", []), [b"x" * (16 << 20)])[1], send_timeout=0.2)
    with served.connect(receive_buffer=4096) as client:
        client.request()
        eventually(lambda: served.row[Word.REQUESTS] == 1 and served.row[Word.CONNECTIONS] == 0)
    assert left == [], "cut when it stopped, not before"


@pytest.mark.parametrize("leaves", ["at once", "amid the answer", "never"])
def test_the_line_of_a_client_that_leaves(serve: Any, leaves: str) -> None:
    """It tells what became of the answer, also of what was on its way when the application was done."""
    size = 16 << 20
    gone, access = threading.Event(), FakeAccess()

    def app(environ: Any, start_response: Any) -> Any:
        assert leaves != "at once" or gone.wait(Served.LIMIT)
        start_response("200 OK", [("Content-Length", str(size))])
        return [b"x" * size]

    served = serve(app, access=access)
    with served.connect(receive_buffer=4096) as client:
        client.request()
        if leaves == "at once":
            eventually(lambda: served.row.in_flight == 1)
        else:
            assert client.sock.recv(1, socket.MSG_PEEK) == b"H"
        if leaves == "never":
            eventually(lambda: served.row[Word.REQUESTS] == 1)
            assert access.exchanges == [], "it is not over"
            assert client.reply().complete
        else:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.sock.close()
            gone.set()
        eventually(lambda: access.exchanges)
    [line] = access.exchanges
    assert line.status == 200
    assert line.aborted.startswith("" if leaves == "never" else "the client is gone: "), line.aborted
    assert bool(line.aborted) == (leaves != "never")
    assert (line.sent == size) == (leaves == "never")


def test_the_line_of_an_answer_that_a_quick_stop_cuts(serve: Any) -> None:
    """The application was long done; its client had not taken all of it."""
    size, access = 16 << 20, FakeAccess()
    served = serve(lambda environ, start: (start("200 OK", []), [b"x" * size])[1], access=access)
    with served.connect(receive_buffer=4096) as client:
        client.request()
        eventually(lambda: served.row[Word.REQUESTS] == 1)
        served.orders.obey(signal.SIGQUIT)
        eventually(lambda: access.exchanges)
    [line] = access.exchanges
    assert (line.status, line.aborted) == (200, "the worker was told to quit")
    assert line.sent < size


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


# -- the small parts


def conn(target: bytes, peer: str | None = "192.0.2.1") -> Any:
    return SimpleNamespace(request=SimpleNamespace(method="GET", target=target), peer=peer)


def test_describe() -> None:
    """Nothing a peer sent can forge a log line."""
    assert describe(conn(b"/a?b")) == "GET /a?b from 192.0.2.1"
    assert describe(conn(b"/caf\xc3\xa9", None)) == "GET /caf\\xc3\\xa9 from unix socket"
    assert len(describe(conn(b"/" + b"x" * 5000))) < 300
    assert describe(SimpleNamespace(request=None, peer="::1")) == "request from ::1"  # type: ignore[arg-type]


def test_ipv4_behind_a_dual_stack_listener() -> None:
    assert exchange._plain_address("::ffff:192.0.2.1") == "192.0.2.1"
    assert exchange._plain_address("::ffff:1") == "::ffff:1"
    assert exchange._plain_address("2001:db8::1") == "2001:db8::1"


def test_max_requests_with_jitter() -> None:
    assert exchange._requests(0, 100) == float("inf")
    assert exchange._requests(10, 0) == 10
    assert {exchange._requests(10, 2) for _ in range(200)} == {10, 11, 12}


def test_errors_go_into_the_log() -> None:
    """wsgi.md 18."""
    log: Any = FakeLog()
    exchange._errors_sink(log)("line\n")
    assert log.of("wsgi.errors") == ["line"]


@pytest.mark.parametrize(("line", "status"), [("200 OK", "200 OK"), ("", "500")])
def test_answer_as_hooks_see_it(line: str, status: str) -> None:
    call: Any = SimpleNamespace(status_line=line, status=int(status[:3]), headers=[("A", "b")], sent=3)
    answered = Answered(call)
    assert (answered.status, answered.status_code, answered.sent) == (status, int(status[:3]), 3)
    assert answered.headers == [("A", "b")]
