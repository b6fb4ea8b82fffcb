"""What clients send, in every way they may send it: both WSGI kinds over real sockets."""

from __future__ import annotations

import io
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from arbiter.link.scoreboard import Scoreboard, Word
from tests.fakes.workers import Served
from tests.fakes.wsgi_apps import echo, eventually, hello, seen, show

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


def test_some_hands_are_free_of_waiting_for_clients(serve: Any, kind: str) -> None:
    """http.md 38, within bounds: beyond half of the hands a body is asked for, and collected, by the loop."""
    board = Scoreboard(2)
    served = serve(echo, board=board, threads=4)
    clients = []
    if kind == "sync":
        board.reach(1)
        board.row(1).clear(pid=1)  # a sibling,
        board.row(1).add(Word.FETCHING)  # whose application waits
    else:
        clients = [served.connect() for _ in range(2)]
        for client in clients:
            client.send(EXPECT)
            assert client.reply().status == 100
        assert served.row[Word.FETCHING] == 2
    with served.connect() as late, served.connect() as other:
        late.send(EXPECT)
        assert late.reply().status == 100
        eventually(lambda: served.row.in_flight == served.row[Word.FETCHING])
        other.request("/other")
        assert other.reply().status == 200
        late.send(b"12345")
        assert late.reply().body == b"12345"
    for client in clients:
        client.sock.close()
    eventually(lambda: served.row[Word.FETCHING] == 0)


def test_the_time_a_client_takes_is_not_its_applications(serve: Any) -> None:
    """A slow body does not make its request late."""
    served = serve(echo)
    with served.connect() as client:
        client.send(EXPECT)
        assert client.reply().status == 100
        eventually(lambda: any(lane.extra_ns > 200_000_000 for lane in served.row.lanes()))
        client.send(b"12345")
        assert client.reply().body == b"12345"
    eventually(lambda: served.row[Word.FETCHING] == 0)


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


# -- the PROXY protocol


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
