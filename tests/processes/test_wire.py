"""Requests as bytes on a socket, judged by real servers of every kind.

`wire` has the tables: what is refused, and what gets through and how the application sees it; below is what
a connection does over several requests. A refusal is an answer of the server's own, after which the
connection ends; the application is not called, neither for it nor for the bytes behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.processes.client import Answer, Client, Cut
from tests.processes.server import Server, until
from tests.processes.wire import PASSES, REFUSED, Passes, Refused, chunked, head, post

APPS = {"sync": "probe_wsgi", "threaded": "probe_wsgi", "asgi": "probe_asgi"}
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
LIMITS = [
    *("--limit-request-line", "200", "--limit-request-fields", "20", "--limit-request-field-size", "300"),
    *("--limit-request-head", "1000", "--limit-request-body", "5000", "--limit-request-chunk-line", "64"),
]


@pytest.fixture(scope="module", params=list(APPS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker of each kind, so that what the application was called for is known."""
    kind = request.param
    options = ["-w", "1", "-k", kind, *(["--threads", "4"] if kind == "threaded" else [])]
    directory = tmp_path_factory.mktemp(kind)
    with Server(directory, *options, *LIMITS, f"{APPS[kind]}:application") as running:
        running.kind = kind  # type: ignore[attr-defined]
        yield running


@pytest.fixture
def address(server: Server) -> tuple[str, int]:
    return server.host, server.port


def calls(address: tuple[str, int]) -> list[str]:
    """What the application was called for since this was last asked."""
    with Client(address) as client:
        told: list[str] = json.loads(client.get("/calls").body)
        return told


# ---- what is refused


def refused(address: tuple[str, int], case: Refused, *, trickled: bool = False) -> None:
    """http.md 28, 29, 48: one answer of the server's own, the end of the connection, and nothing else."""
    with Client(address) as client:
        wire = case.wire + SMUGGLED
        client.trickle(wire) if trickled else client.send(wire)
        answer = client.answer()
        assert answer.status in case.statuses, (case.name, answer)
        assert answer.closes, case.name
        assert (answer.get("content-type") or "").startswith("text/plain"), case.name
        assert answer.get("content-length") is not None
        assert 0 < len(answer.body) < 300
        assert b"Traceback" not in answer.body and b"arbiter/" not in answer.body
        assert client.rest() == b"", case.name


# asgi streams a body as it comes: by the time its framing breaks, the application may have been called.
BEGUN = {"http.md 24", "http.md 25", "http.md 26", "http.md 27", "http.md 23"}


def may_have_begun(server: Server, case: Refused) -> bool:
    return server.kind == "asgi" and case.wire.startswith(b"POST") and case.name[:10] in BEGUN  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused(server: Server, address: tuple[str, int], case: Refused) -> None:
    """http.md 1-12, 14, 17, 19-29, 38, 48; asgi.md 58-69; wsgi.md 49: refused, and nothing of it executed."""
    calls(address)
    refused(address, case)
    called = calls(address)
    assert called == [] or (called == ["POST /seen"] and may_have_begun(server, case)), case.name


def test_refused_byte_by_byte(server: Server, address: tuple[str, int]) -> None:
    """http.md 32: how the bytes were cut into segments changes nothing."""
    calls(address)
    for case in REFUSED:
        if len(case.wire) < 400:
            refused(address, case, trickled=True)
    assert "GET /smuggled" not in calls(address)


# ---- what gets through


def check_seen(answer: Answer, case: Passes) -> None:
    assert answer.status == 200, (case.name, answer)
    told = json.loads(answer.body)
    for key, wanted in case.seen.items():
        if key == "fields":
            for name, value in wanted.items():
                assert told["fields"].get(name) == value, (case.name, name, told)
        else:
            assert told[key] == wanted, (case.name, key, told)


@pytest.mark.parametrize("case", PASSES, ids=str)
def test_passes(server: Server, address: tuple[str, int], case: Passes) -> None:
    """http.md 1, 4, 5, 12, 13, 15, 17, 18, 21, 22, 24, 25, 27, 31, 38, 39; asgi.md 5, 8, 9, 21, 67, 70;
    wsgi.md 10, 11, 12: good HTTP reaches the application as it was meant, and so does the next request.
    """
    again = case.wire.startswith(b"\r\n") or b"HTTP/1.1" in case.wire
    with Client(address) as client:
        client.send(case.wire + (SMUGGLED if again else b""))
        answer = client.answer()
        check_seen(answer, case)
        if again:
            assert client.answer().body == b"ok"
            assert not answer.closes
        else:
            assert client.rest() == b""


def test_passes_byte_by_byte(server: Server, address: tuple[str, int]) -> None:
    """http.md 32: how the bytes were cut into segments changes nothing."""
    for case in PASSES:
        with Client(address) as client:
            check_seen(client.trickle(case.wire).answer(), case)


def test_head_is_framed_as_get(server: Server, address: tuple[str, int]) -> None:
    """http.md 31, 41: a body of HEAD is read, its answer has none, and the connection goes on."""
    with Client(address) as client:
        client.send(head("Content-Length: 5", line="HEAD /seen HTTP/1.1") + b"hello")
        answer = client.answer("HEAD")
        assert answer.status == 200
        assert int(answer.get("content-length") or 0) > 0
        assert client.get("/x").body == b"ok"


def test_the_asterisk_form(server: Server, address: tuple[str, int]) -> None:
    """http.md 4, asgi.md 67: OPTIONS * reaches the application."""
    calls(address)
    with Client(address) as client:
        client.send(head(line="OPTIONS * HTTP/1.1"))
        assert client.answer().status == 200
    assert calls(address) == ["OPTIONS *"]


def test_a_method_in_lower_case(server: Server, address: tuple[str, int]) -> None:
    """http.md 1, asgi.md 5: passed on as it is; but the ASGI specification has `method` in upper case."""
    with Client(address) as client:
        told = json.loads(client.send(head(line="get /seen HTTP/1.1")).answer().body)
    assert told["method"] == ("GET" if server.kind == "asgi" else "get")  # type: ignore[attr-defined]


def test_httpoxy(server: Server, address: tuple[str, int]) -> None:
    """http.md 16, wsgi.md 13: `Proxy` never becomes HTTP_PROXY (under ASGI it is a field like any other)."""
    with Client(address) as client:
        told = json.loads(client.get("/seen", "Proxy: http://evil").body)
    assert ("proxy" in told["fields"]) == (server.kind == "asgi")  # type: ignore[attr-defined]


def test_a_short_message_is_never_complete(server: Server, address: tuple[str, int]) -> None:
    """http.md 28, asgi.md 25: neither the end nor a reset of the connection ends a body."""
    calls(address)
    whole = post("Content-Length: 10", body="0123456789")
    parts = chunked("a\r\n0123456789\r\n0\r\n\r\n")
    for wire in (
        whole[:-1],
        whole[:-10],
        parts[:-1],
        parts[:-2],
        parts[:-5],
        parts[:-10],
        head()[:-1],
        head()[:5],
    ):
        with Client(address) as client:
            assert client.send(wire).half_close().rest() == b"", wire
        with Client(address) as client:
            client.send(wire).reset()
    assert set(calls(address)) <= ({"POST /seen"} if server.kind == "asgi" else set())  # type: ignore[attr-defined]


# ---------------------------------------------------------------------- connections


@pytest.mark.parametrize(
    ("request_head", "kept"),
    [
        (head(), True),
        (head("Connection: keep-alive"), True),
        (head("Connection: close"), False),
        (head("Connection: CLOSE"), False),
        (head("Connection: keep-alive, close"), False),
        (head("Connection: close, keep-alive"), False),
        (head("Connection: x,\tclose , y"), False),
        (head("Connection: keep-alive", "Connection: close"), False),
        (head("Connection: closed"), True),
        (head(line="GET /seen HTTP/1.0"), False),
        (head("Connection: keep-alive", line="GET /seen HTTP/1.0"), True),
        (head("Connection: Keep-Alive", line="GET /seen HTTP/1.0"), True),
        (head("Connection: keep-alive, close", line="GET /seen HTTP/1.0"), False),
    ],
)
def test_persistence(server: Server, address: tuple[str, int], request_head: bytes, kept: bool) -> None:
    """http.md 29, 33, asgi.md 50, wsgi.md 47: who closes says so, and nothing behind a close is executed."""
    calls(address)
    old = b"HTTP/1.0" in request_head
    with Client(address) as client:
        answer = client.send(request_head + SMUGGLED).answer()
        assert answer.status == 200
        if kept:
            assert not answer.closes
            if old:
                assert (answer.get("connection") or "").lower() == "keep-alive"
            assert client.answer().body == b"ok"
        else:
            assert answer.closes or old
            assert client.rest() == b""
    assert ("GET /smuggled" in calls(address)) == kept


def test_pipelined(server: Server, address: tuple[str, int]) -> None:
    """http.md 34, asgi.md 51: answered in order, bodies and all."""
    calls(address)
    wire = b"".join(
        head("Content-Length: 2", line=f"POST /p{number} HTTP/1.1")
        + b"ab"
        + head(line=f"GET /q{number} HTTP/1.1")
        for number in range(50)
    )
    with Client(address) as client:
        client.send(wire)
        assert [client.answer().body for _ in range(100)] == [b"ok"] * 100
    told = calls(address)
    assert told == [call for number in range(50) for call in (f"POST /p{number}", f"GET /q{number}")]


def test_half_close(server: Server, address: tuple[str, int]) -> None:
    """http.md 36, asgi.md 30, wsgi.md 48: whoever ends its sending after a whole request gets its answers."""
    with Client(address) as client:
        client.send(head() + post("Content-Length: 5", body="hello")).half_close()
        assert client.answer().status == 200
        assert json.loads(client.answer().body)["body"] == "hello"
        assert client.rest() == b""
    with Client(address) as client:
        answer = client.send(head(line="GET /big?3000000 HTTP/1.1")).half_close().answer()
        assert len(answer.body) == 3_000_000
        assert client.rest() == b""


def test_expect_continue(server: Server, address: tuple[str, int]) -> None:
    """http.md 38, asgi.md 26, wsgi.md 27: 100 is sent when the application first reads, and only once."""
    fields = ("Expect: 100-continue", "Content-Length: 5")
    with Client(address) as client:
        client.send(post(*fields))
        assert client.line() == b"HTTP/1.1 100 Continue"
        assert client.line() == b""
        answer = client.send(b"hello").answer()
        assert answer.interim == []
        assert json.loads(answer.body)["body"] == "hello"
        assert client.get("/x").body == b"ok"


def test_expect_continue_without_reading(server: Server, address: tuple[str, int]) -> None:
    """http.md 30, 38, asgi.md 27, 29: a final answer without 100 ends the connection."""
    calls(address)
    with Client(address) as client:
        client.send(
            head("Expect: 100-continue", f"Content-Length: {len(SMUGGLED)}", line="POST /ignore HTTP/1.1")
        )
        answer = client.answer()
        assert (answer.status, answer.interim, answer.closes) == (200, [], True)
        try:
            client.send(SMUGGLED)
        except OSError:
            pass
        assert client.closed()
    assert calls(address) == ["POST /ignore"]


def test_an_unread_body_is_not_the_next_request(server: Server, address: tuple[str, int]) -> None:
    """http.md 30, asgi.md 29, wsgi.md 28: it is thrown away, or the connection ends."""
    calls(address)
    body = SMUGGLED * 20
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    for wire in (
        head(f"Content-Length: {len(body)}", line="POST /ignore HTTP/1.1") + body,
        head("Transfer-Encoding: chunked", line="POST /ignore HTTP/1.1") + chunks,
    ):
        with Client(address) as client:
            client.send(wire + head(line="GET /after HTTP/1.1"))
            assert client.answer().body == b"ok"
            try:
                assert client.answer().body == b"ok"
            except Cut:
                pass
    assert set(calls(address)) <= {"POST /ignore", "GET /after"}


def test_nothing_is_left_behind(server: Server, address: tuple[str, int]) -> None:
    """http.md 37: after all this, no request is in flight and no connection but the asker's is open."""

    def quiet() -> bool:
        rows = json.loads(server.ctl("status", "--json"))["workers"]
        return all(row["in_flight"] == 0 and row["connections"] == 0 for row in rows)

    until(quiet, "the end of every connection")
