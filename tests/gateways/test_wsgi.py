"""One call of a WSGI application against the real framing, without a socket."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from arbiter.errors import ResponseError
from arbiter.gateways.wsgi import FileWrapper
from tests.fakes.wsgi_wire import PLAIN, Counted, OnDisk, Wire, answering, reasons, run


def test_one_string_leaves_in_one_write_with_its_length() -> None:
    """wsgi.md 42: no Content-Length and one chunk: Content-Length is set."""
    call, wire = run(answering([b"hello"]))
    assert len(wire.writes) == 1
    assert b"content-length: 5" in wire.head
    assert wire.body == b"hello"
    assert (call.status, call.sent, call.faults, call.aborted) == (200, 5, None, "")
    assert call.http.keep_alive


def test_several_chunks_are_chunked_in_11_and_end_with_the_connection_in_10() -> None:
    """wsgi.md 42: else chunked on 1.1, close on 1.0."""
    _, wire = run(answering(iter([b"ab", b"cde"])))
    assert b"transfer-encoding: chunked" in wire.head
    assert wire.body == b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
    call, wire = run(answering(iter([b"ab", b"cde"])), b"GET / HTTP/1.0\r\n\r\n")
    assert wire.body == b"abcde"
    assert not call.http.keep_alive


def test_validator_has_nothing_to_say() -> None:
    """wsgi.md 50: wsgiref.validate.validator wraps clean; 3: every variable has the type it wants."""
    call, wire = run(validator(answering([b"ok"], headers=[("Content-Type", "text/plain")])))
    assert call.faults is None
    assert b"ok" in wire.body


def test_write_sends_before_the_iterable() -> None:
    """wsgi.md 29: start_response returns a write() that is out before the iterable is asked."""
    wire = Wire()
    seen = []

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", PLAIN)
        write(b"one")
        seen.append(wire.sent)
        write(b"two")
        return [b"three"]

    run(app, wire=wire)
    assert b"one" in seen[0]
    assert wire.body == b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"


def test_write_of_nothing_does_not_send_the_head() -> None:
    """wsgi.md 34: empty chunks do not flush the head."""
    wire = Wire()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)(b"")
        assert not wire.writes
        return []

    call, _ = run(app, wire=wire)
    assert call.faults is None


def test_second_start_response_without_exc_info_is_refused() -> None:
    """wsgi.md 30."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        with pytest.raises(ResponseError, match="again"):
            start_response("204 No Content", [])
        return [b"first"]

    call, wire = run(app)
    assert wire.body == b"first"
    assert call.status == 200


def test_exc_info_replaces_status_and_headers_completely() -> None:
    """wsgi.md 31: before the head is sent."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("X-Old", "1"), ("Content-Length", "100"), ("Set-Cookie", "a=b")])
        try:
            raise ValueError("boom")
        except ValueError:
            start_response("500 Oops", [("X-New", "2")], sys.exc_info())
        return [b"sorry"]

    call, wire = run(app)
    assert wire.head.startswith(b"HTTP/1.1 500 Oops\r\n")
    assert b"X-New: 2" in wire.head
    assert b"X-Old" not in wire.head
    assert b"Set-Cookie" not in wire.head
    assert b"content-length: 5" in wire.head
    assert call.faults is None


def test_exc_info_after_the_head_raises_the_original() -> None:
    """wsgi.md 31: after the head is sent it re-raises; 37: the connection breaks."""
    error = ValueError("boom")

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", PLAIN)
        write(b"partial")
        try:
            raise error
        except ValueError:
            start_response("500 Oops", PLAIN, sys.exc_info())
        return [b"not sent"]

    call, wire = run(app)
    assert call.faults is not None
    assert call.faults[0][1] is error
    assert call.aborted
    assert not call.http.keep_alive
    assert b"0\r\n\r\n" not in wire.body
    assert b"not sent" not in wire.body


def test_exc_info_without_an_exception() -> None:
    """wsgi.md 31: sys.exc_info() outside of a handler replaces quietly."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        start_response("201 Created", PLAIN, (None, None, None))
        return [b"x"]

    call, _ = run(app)
    assert call.status == 201
    assert call.faults is None


def test_body_without_start_response_is_500() -> None:
    """wsgi.md 32."""
    for result in ([b"x"], iter([b"x"]), [], iter([])):
        call, wire = run(lambda environ, start_response, result=result: result)
        assert wire.head.startswith(b"HTTP/1.1 500 ")
        assert call.status == 500
        assert "start_response" in reasons(call)[0]


def test_start_response_may_come_with_the_first_chunk() -> None:
    """wsgi.md 32: a generator calls it when it is first asked."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b""
        yield b"late"

    call, wire = run(app)
    assert call.faults is None
    assert b"late" in wire.body


@pytest.mark.parametrize("result", [[], (), iter([]), [b""], iter([b"", b""])])
def test_empty_iterable_is_an_empty_answer(result: Any) -> None:
    """wsgi.md 33."""
    call, wire = run(answering(result))
    assert wire.head.startswith(b"HTTP/1.1 200 OK")
    assert b"content-length: 0" in wire.head
    assert wire.body == b""
    assert call.faults is None


def test_each_chunk_is_sent_before_the_next_is_asked_for() -> None:
    """wsgi.md 34."""
    wire = Wire()
    seen: list[int] = []

    def parts() -> Iterator[bytes]:
        for part in (b"", b"a", b"", b"b", b"c"):
            seen.append(len(wire.writes))
            yield part

    run(answering(parts()), wire=wire)
    assert seen == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("parts", "head"),
    [
        ((b"a", b"b"), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ((b"a", b"b"), b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ((), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (("str",), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ((b"a", 5), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ],
)
def test_close_is_called_exactly_once(parts: tuple[Any, ...], head: bytes) -> None:
    """wsgi.md 35: normal, HEAD, exception in the middle."""
    result = Counted(*parts)
    run(answering(result), head)
    assert result.closed == 1


def test_close_after_an_exception_and_after_a_disconnect() -> None:
    """wsgi.md 35."""
    failing = Counted(b"a", error=RuntimeError("mid-body"))
    run(answering(failing))
    assert failing.closed == 1
    result = Counted(*[b"x"] * 3000)
    call, _ = run(answering(result), wire=Wire(gone_after=2))
    assert result.closed == 1
    assert call.faults is None  # a client that leaves is nobody's fault


def test_close_of_something_that_cannot_be_iterated() -> None:
    """wsgi.md 35: close() is called even then."""

    class Broken:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    result = Broken()
    call, _ = run(answering(result))
    assert result.closed == 1
    assert call.status == 500


def test_failing_close_is_reported_and_harmless() -> None:
    """wsgi.md 35: its own exception is logged."""
    result = Counted(b"fine", failing_close=True)
    call, wire = run(answering(result))
    assert b"fine" in wire.body
    assert wire.body.endswith(b"0\r\n\r\n")
    assert "close() of the application's iterable failed: close failed" in reasons(call)
    assert call.aborted == ""


def test_disconnect_stops_the_iteration() -> None:
    """wsgi.md 36: at the next write."""
    result = Counted(*[b"x"] * 3000)
    call, _ = run(answering(result), wire=Wire(gone_after=2))
    assert result.given == 3
    assert call.aborted == "the client is gone"


def test_exception_before_the_head_is_500_without_internals() -> None:
    """wsgi.md 38; http.md 48: the server's answer is small and tells nothing of the inside."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("X-Secret", "inside")])
        raise ValueError("the password is swordfish")

    call, wire = run(app)
    assert wire.head.startswith(b"HTTP/1.1 500 Internal Server Error")
    assert b"swordfish" not in wire.sent
    assert b"X-Secret" not in wire.sent
    assert call.status == 500
    assert call.aborted == ""
    assert not call.http.keep_alive


def test_exception_in_the_middle_leaves_a_visible_break() -> None:
    """wsgi.md 37: no last chunk."""
    call, wire = run(answering(Counted(b"one", error=ValueError("boom"))))
    assert wire.body == b"3\r\none\r\n"
    assert call.aborted


@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit(), RuntimeError("x"), BaseException("odd")])
def test_whatever_is_raised_costs_one_request(error: BaseException) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise error

    call, wire = run(app)
    assert wire.head.startswith(b"HTTP/1.1 500 ")
    assert call.faults == [("the application failed", error)]


def test_keyboard_interrupt_is_not_the_applications() -> None:
    result = Counted(b"a", error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(answering(result))
    assert result.closed == 1


@pytest.mark.parametrize("result", [["text"], iter(["text"]), "text", b"bytes", [1], iter([None]), None, 5])
def test_what_is_not_an_iterable_of_bytes_is_500(result: Any) -> None:
    """wsgi.md 38: str chunks, bytes as the iterable."""
    call, wire = run(answering(result))
    assert wire.head.startswith(b"HTTP/1.1 500 ")
    assert b"text" not in wire.body
    assert call.faults


@pytest.mark.parametrize(
    "status",
    [
        "abc",
        "200OK",
        "20 OK",
        "2000 OK",
        "200 OK\r\nX: y",
        "099 Low",
        "101 Switching Protocols",
        b"200 OK",
        200,
        "",
        None,
    ],
)
def test_bad_status_is_500(status: Any) -> None:
    """wsgi.md 38."""
    call, wire = run(answering([b"x"], status=status))
    assert wire.head.startswith(b"HTTP/1.1 500 ")
    assert b"X: y" not in wire.sent
    assert call.faults


@pytest.mark.parametrize(
    "headers",
    [
        [("X", 1)],
        [(b"X", b"y")],
        [("X", "a\r\nSet-Cookie: evil")],
        [("X\r\nY", "a")],
        [("X", "a\nb")],
        [("X", "a\0b")],
        [("", "x")],
        [("X Y", "x")],
        [("X", "\u20ac")],
        [("\xe4", "x")],
        [("X", "a", "b")],
        ["X: y"],
        [["X", "y"]],
        None,
        5,
        [("Content-Length", "-1")],
        [("Content-Length", "1"), ("Content-Length", "2")],
    ],
)
def test_bad_headers_are_500_and_never_on_the_wire(headers: Any) -> None:
    """wsgi.md 38: int and bytes headers, CR and LF."""
    call, wire = run(answering([b"x"], headers=headers))
    assert wire.head.startswith(b"HTTP/1.1 500 ")
    assert b"evil" not in wire.sent
    assert call.faults


def test_a_refused_start_response_may_be_tried_again() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        with pytest.raises(ResponseError):
            start_response("200 OK", [("X", "a\nb")])
        start_response("200 OK", [("X", "ab")])
        return [b"x"]

    call, wire = run(app)
    assert b"X: ab" in wire.head
    assert call.faults is None


def test_hop_by_hop_headers_do_not_change_the_framing() -> None:
    """wsgi.md 39."""
    hop = [("Transfer-Encoding", "chunked"), ("Keep-Alive", "5"), ("TE", "x"), ("Content-Length", "2")]
    _, wire = run(answering([b"ab"], headers=hop))
    assert b"chunked" not in wire.sent.lower()
    assert b"keep-alive" not in wire.sent.lower()
    assert wire.body == b"ab"


def test_reason_phrase_is_kept() -> None:
    """wsgi.md 40."""
    _, wire = run(answering([b"x"], status="299 Quite Fine"))
    assert wire.head.startswith(b"HTTP/1.1 299 Quite Fine\r\n")
    _, wire = run(answering([b"x"], status="200 Alright"))
    assert wire.head.startswith(b"HTTP/1.1 200 Alright\r\n")
    _, wire = run(answering([b"x"], status="404"))
    assert wire.head.startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_header_case_order_and_bytes_are_kept() -> None:
    """wsgi.md 41: case and order, repeated Set-Cookie, latin-1 out."""
    headers = [("X-b", "1"), ("x-A", "caf\xe9"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    _, wire = run(answering([b"x"], headers=headers))
    lines = wire.head.split(b"\r\n")[1:5]
    assert lines == [b"X-b: 1", b"x-A: caf\xe9", b"Set-Cookie: a=1", b"Set-Cookie: b=2"]


@pytest.mark.parametrize("result", [[b"abcdef"], [b"ab", b"cdef"], iter([b"ab", b"cd", b"ef"])])
def test_too_much_body_is_cut_at_content_length(result: Any) -> None:
    """wsgi.md 43."""
    call, wire = run(answering(result, headers=[("Content-Length", "3")]))
    assert wire.body == b"abc"
    assert call.sent == 3
    assert call.aborted == ""
    assert "longer than its Content-Length" in reasons(call)[0]


def test_endless_body_ends_with_its_content_length() -> None:
    """wsgi.md 43: an application that never stops does not hold the worker."""
    result = Counted(*[b"x"] * 1000)
    run(answering(result, headers=[("Content-Length", "3")]))
    assert result.given == 4
    assert result.closed == 1


def test_too_little_body_closes() -> None:
    """wsgi.md 43: the client is not left waiting."""
    call, wire = run(answering(iter([b"ab"]), headers=[("Content-Length", "5")]))
    assert wire.body == b"ab"
    assert call.aborted
    assert not call.http.keep_alive
    assert "3 bytes shorter" in reasons(call)[0]


def test_too_little_body_in_one_piece_is_500() -> None:
    """wsgi.md 43: nothing is out yet, so the client gets an honest answer."""
    call, wire = run(answering([b"ab"], headers=[("Content-Length", "5")]))
    assert wire.head.startswith(b"HTTP/1.1 500 ")
    assert call.status == 500


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_no_body_bytes_after_204_and_304(status: str) -> None:
    """wsgi.md 44."""
    for result in ([b"xx"], iter([b"x", b"x"])):
        call, wire = run(answering(result, status=status, headers=[]))
        assert wire.body == b""
        assert b"transfer-encoding" not in wire.head
        assert call.sent == 0


@pytest.mark.parametrize("headers", [PLAIN, [("Content-Length", "7")]])
def test_head_has_no_body_bytes(headers: Any) -> None:
    """wsgi.md 45: whatever the application returns; the iterable is closed; Content-Length is kept."""
    head = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
    result = Counted(b"abc", b"defg")
    call, wire = run(answering(result, headers=headers), head)
    assert wire.body == b""
    assert result.closed == 1
    assert call.http.keep_alive
    assert call.sent == 0
    if headers is not PLAIN:
        assert b"Content-Length: 7" in wire.head
    file = OnDisk(b"abcdefg")
    call, wire = run(answering(FileWrapper(file), headers=headers), head)
    assert wire.body == b""
    assert file.closed == 1


def test_http10_keep_alive_with_content_length() -> None:
    """wsgi.md 47."""
    head = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    call, wire = run(answering([b"abc"]), head)
    assert b"connection: keep-alive" in wire.head.lower()
    assert b"content-length: 3" in wire.head
    assert call.http.keep_alive


def test_bytes_like_chunks_are_taken() -> None:
    _, wire = run(answering([bytearray(b"abc")]))
    assert wire.body == b"abc"
    _, wire = run(answering(iter([memoryview(b"abc"), bytearray(b"d")])))
    assert b"abc" in wire.body


def test_client_gone_before_the_answer() -> None:
    call, _ = run(answering([b"x"]), wire=Wire(gone_after=0))
    assert call.aborted == "the client is gone"
    assert call.faults is None


def test_client_gone_before_the_500() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise ValueError("x")

    call, _ = run(app, wire=Wire(gone_after=0))
    assert call.aborted
    assert len(call.faults or ()) == 1
