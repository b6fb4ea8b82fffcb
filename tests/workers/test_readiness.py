"""The request before the first one: what is asked, what counts as an answer, what is told of it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from arbiter.link.scoreboard import Word
from arbiter.protocols.peer.proxy_protocol import ProxyReader
from arbiter.workers.readiness import KEPT, Probe
from tests.fakes.workers import Served, settings


def probe(path: str = "/health", **changes: Any) -> Probe:
    return Probe(settings(readiness_path=path, **changes))


def asked(one: Probe) -> bytes:
    with one.theirs as theirs:
        data = theirs.recv(65536)
    one.close()
    return data


def judged(*parts: bytes) -> str:
    one = probe()
    one.theirs.close()
    for part in (*parts, b""):
        one.take(part)
    one.close()
    assert one.over
    return one.problem


def test_what_is_asked() -> None:
    lines = asked(probe("/health?deep=1")).split(b"\r\n")
    assert lines[0] == b"GET /health?deep=1 HTTP/1.1"
    assert b"Host: localhost" in lines
    assert b"Connection: close" in lines


def test_a_url_names_host_and_scheme() -> None:
    lines = asked(probe("https://www.example.com/up")).split(b"\r\n")
    assert lines[0] == b"GET /up HTTP/1.1"
    assert b"Host: www.example.com" in lines
    assert b"X-FORWARDED-PROTO: https" in lines


@pytest.mark.parametrize("mode", ["v1", "v2", "auto"])
def test_where_a_proxy_header_is_expected_there_is_one(mode: str) -> None:
    header = ProxyReader(mode).feed(asked(probe(proxy_protocol=mode)))
    assert header is not None
    assert header.client is None
    assert header.rest.startswith(b"GET /health ")


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "301 Moved Permanently"])
def test_ready(status: str) -> None:
    assert judged(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()) == ""


def test_an_interim_answer_is_none() -> None:
    assert judged(b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n") == ""
    assert "503" in judged(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 Down\r\n\r\n")
    assert "not answered" in judged(b"HTTP/1.1 103 Early Hints\r\n\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Down\r\nContent-Length: 14\r\n\r\nno\ndatabase :(",
        b"HTTP/1.1 503 Down\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno\n\r\nb\r\ndatabase :(\r\n0\r\n\r\n",
        b"HTTP/1.1 503 Down\r\n\r\nno\ndatabase :(",
        b"HTTP/1.1 503 Down\r\nContent-Length: 99\r\n\r\nno\ndatabase :(",
    ],
)
def test_not_ready_says_why(answer: bytes) -> None:
    problem = judged(answer[:20], answer[20:])
    assert problem == (
        "readiness_path (a test): GET /health was answered with 503 (Host: localhost): no database :("
    )


def test_a_host_that_is_not_allowed_is_a_hint() -> None:
    assert "write the path as a URL" in judged(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("garbage", [b"", b"hello", b"HTTP/1.1 ", b"\0" * 100])
def test_no_answer(garbage: bytes) -> None:
    assert judged(garbage) == "readiness_path (a test): GET /health was not answered"


def test_a_long_answer_is_read_and_not_kept() -> None:
    one = probe()
    one.theirs.close()
    one.take(b"HTTP/1.1 500 No\r\n\r\n")
    for _ in range(100):
        one.take(b"x" * 10_000)
    assert len(one._answer) == KEPT
    one.take(b"")
    assert len(one.problem) < 1000
    one.close()


# ---- the WSGI kinds; asgi is in test_tasks_readiness


def app(environ: Any, start_response: Any) -> Any:
    status = environ["PATH_INFO"].strip("/") or "200"
    body = b"x" * 300_000 if status == "200" else b"no database"
    start_response(f"{status} Word", [("Content-Length", str(len(body)))])
    return [body]


def test_a_worker_that_answers_gets_ready(serve: Callable[..., Served]) -> None:
    served = serve(app, readiness_path="/")
    assert served.entered == ["readiness (GET /)"]
    assert len(served.dispatcher.connections) == 0
    assert served.failed == []
    assert served.get().status == 200


def test_a_worker_that_does_not_ends(kind: str) -> None:
    served = Served(kind, app, readiness_path="/503")
    served.start()
    served.join()
    (problem,) = served.failed
    assert "answered with 503 (Host: localhost): no database" in str(problem)
    assert not served.ready.is_set()
    served.close()


def test_nobody_is_accepted_before(kind: str) -> None:
    seen: list[int] = []

    def counting(environ: Any, start_response: Any) -> Any:
        seen.append(served.row[Word.ACCEPTED])
        return app(environ, start_response)

    served = Served(kind, counting, readiness_path="/204")
    with socket.create_connection(served.address) as early:
        early.sendall(b"GET /201 HTTP/1.1\r\nHost: test\r\n\r\n")
        served.start()
        assert served.ready.wait(Served.LIMIT)
        assert early.recv(100).startswith(b"HTTP/1.1 201 ")
    assert seen == [1, 2]
    served.close()


def test_told_to_stop_meanwhile(kind: str) -> None:
    def app_that_is_told(environ: Any, start_response: Any) -> Any:
        served.drain()
        return app(environ, start_response)

    served = Served(kind, app_that_is_told, readiness_path="/204")
    served.start()
    served.join()
    assert served.status == 0
    served.close()


