"""One connection: the order of requests, what is held, how it ends."""

from __future__ import annotations

from itertools import product

import pytest

from arbiter.protocols.events import BadRequest, Data, EndOfBody, Gone, Request
from tests.fakes.http1 import answer, connection, conversation, head, serving, story

GET = head()
POST = head(b"Content-Length: 5", line=b"POST / HTTP/1.1")
CHUNKED = head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1")
EXPECTING = head(b"Content-Length: 5", b"Expect: 100-continue", line=b"POST / HTTP/1.1")


def test_one_request_at_a_time() -> None:
    """http.md 34: pipelined requests are given out one by one, in order, as the answers are complete."""
    conn = connection()
    numbered = [head(line=b"GET /%d HTTP/1.1" % number) for number in range(4)]
    events = conn.receive(b"".join(numbered))
    for number in range(4):
        [event] = events
        assert isinstance(event, Request)
        assert event.path == b"/%d" % number
        answer(conn)
        events = conn.next_request()
    assert events == []


LINES = [
    b"GET / HTTP/1.1",
    b"GET /path?query HTTP/1.1",
    b"HEAD /%20 HTTP/1.1",
    b"GET / HTTP/1.0",
    b"GET http://other.org/ HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"GET /bad# HTTP/1.1",
    b"GET /\r HTTP/1.1",
    b"GET / HTTP/2.0",
    b"nonsense",
]
FIELD_LINES: list[list[bytes]] = [
    [],
    [b"Host: a"],
    [b"Host: a", b"Cookie: one"],
    [b"Host: a", b"Cookie: two"],
    [b"Host: a", b"Connection: keep-alive"],
    [b"Host: a", b"Connection: close"],
    [b"Host: a", b"Connection: upgrade", b"Upgrade: websocket"],
    [b"Host: a", b"X-Forwarded-For: 1.2.3.4"],
    [b"Host: a", b"X_Y: z"],
    [b"Host: a", b"Expect: 100-continue"],
    [b"Host: a", b"Content-Length: 0"],
    [b"Host: a", b"Content-Length: 5"],
    [b"Host: a", b"Transfer-Encoding: chunked"],
    [b"Host: a", b"Host: b"],
    [b"Host : a"],
]
"""Whatever a head says beyond its first line, in its shortest form."""


@pytest.mark.parametrize("fields", FIELD_LINES, ids=repr)
def test_a_request_says_the_same_whatever_came_before_it(fields: list[bytes]) -> None:
    """What comes again is not read again: nothing of an earlier request shows in a later one."""
    body = b"hello" if b"Content-Length: 5" in fields else b""
    body = b"0\r\n\r\n" if b"Transfer-Encoding: chunked" in fields else body
    for first, second in product(LINES, LINES):
        conn = connection()
        for line in (first, second, first, first, first, first, second, first):
            data = head(*fields, line=line, host=None) + body
            here, fresh = conn.receive(data), connection().receive(data)
            assert list(story(here)) == list(story(fresh))
            if not isinstance(here[0], Request):
                break
            answer(conn)
            if not conn.keep_alive:
                break
            assert conn.next_request() == []


def test_pipelined_bodies() -> None:
    """http.md 34: a body ends where the next request begins."""
    conn = connection()
    stream = POST + b"hello" + CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + GET
    told = [list(story(conn.receive(stream)))]
    for _ in range(2):
        answer(conn)
        told.append(list(story(conn.next_request())))
    assert [[kind for kind, *_ in events] for events in told] == [
        ["request", "data", "end"],
        ["request", "data", "end"],
        ["request"],
    ]


def test_pipelining_is_bounded() -> None:
    """http.md 34: past `pipeline` bytes reading is to pause until the next request is taken."""
    conn = connection(pipeline=3 * len(GET) - 1)
    assert conn.wants_read
    conn.receive(GET)
    assert conn.wants_read
    assert conn.receive(GET * 2) == []
    assert conn.wants_read
    conn.receive(GET)
    assert not conn.wants_read
    for left in (2, 1, 0):
        answer(conn)
        assert len(conn.next_request()) == 1
        assert conn.wants_read, left
    answer(conn)
    assert conn.next_request() == []


def test_a_fault_behind_a_good_request_comes_in_its_turn() -> None:
    """http.md 34: the good request is answered first."""
    conn = connection()
    [first] = conn.receive(GET + b"GET /\x00 HTTP/1.1\r\n\r\n" + GET)
    assert isinstance(first, Request)
    assert b"200 OK" in answer(conn)
    [second] = conn.next_request()
    assert isinstance(second, BadRequest)
    assert conn.refuse(second).startswith(b"HTTP/1.1 400 ")
    assert conn.receive(GET) == []


@pytest.mark.parametrize("how", ["asked", "answered", "forced"])
def test_nothing_behind_a_closing_request_is_executed(how: str) -> None:
    """http.md 29: bytes after a request that closes the connection are not parsed, and not kept."""
    conn = connection()
    conn.receive((head(b"Connection: close") if how == "asked" else GET) + GET)
    if how == "forced":
        conn.keep_alive = False
    conn.respond(200, [(b"connection", b"close")] if how == "answered" else [])
    conn.body(b"", False)
    assert not conn.keep_alive
    assert conn.receive(GET * 1000) == []
    assert conn._held == (GET if how != "asked" else b"")
    with pytest.raises(RuntimeError, match="next_request"):
        conn.next_request()


def test_nothing_behind_a_refusal_is_executed() -> None:
    """http.md 29: a refused connection parses nothing more."""
    conn = connection()
    conn.receive(b"GET\r\n\r\n")
    assert not conn.wants_read
    assert conn.receive(GET) == []
    assert conn.receive_eof() == []


def test_next_request_belongs_after_the_answer() -> None:
    """http.md 34: asking early is a bug of the caller, not of the peer."""
    conn = connection()
    conn.receive(GET)
    with pytest.raises(RuntimeError, match="next_request"):
        conn.next_request()


# ---- empty lines, partial heads


def test_mid_head() -> None:
    """http.md 35: 408 where a request had begun, silence where none had."""
    conn = connection()
    told = [conn.mid_head]
    for piece in (b"\r\n", b"\r", b"\nG", b"ET / HTTP/1.1\r\n", b"Host: a\r\n\r\n"):
        conn.receive(piece)
        told.append(conn.mid_head)
    assert told == [False, False, False, True, True, False]


def test_a_timed_out_head_gets_408() -> None:
    """http.md 35, 48: the answer to a slow head."""
    conn = connection()
    conn.receive(GET[:20])
    assert conn.error(408).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_a_head_one_byte_at_a_time_is_not_scanned_again_and_again() -> None:
    """http.md 35: the place where scanning goes on is kept, so a slow head costs what its bytes cost."""
    conn = connection(head=1 << 20, field_size=0, request_line=8000)
    start = head(*(b"X-%d: %s" % (number, b"a" * 80) for number in range(90)))[:-2]
    conn.receive(start)
    assert conn._line_start == len(start)


def test_empty_lines_are_counted_anew_for_each_request() -> None:
    """http.md 5: a few before every request line."""
    conn = connection()
    for _ in range(3):
        assert len(conn.receive(b"\r\n\r\n" + GET)) == 1
        answer(conn)
        assert conn.next_request() == []
    for _ in range(9):  # as old clients do, one behind each body
        assert len(conn.receive(POST + b"hello\r\n")) == 3
        answer(conn)
        assert conn.next_request() == []


def test_a_refusal_behind_a_head_request_has_its_text() -> None:
    """http.md 41, 48: that the last request was HEAD says nothing about the answer to this one."""
    conn = connection()
    conn.receive(head(line=b"HEAD / HTTP/1.1"))
    answer(conn)
    conn.next_request()
    assert not conn.no_body
    [bad] = conn.receive(b"GET /\x00 HTTP/1.1\r\n\r\n")
    assert isinstance(bad, BadRequest)
    assert conn.refuse(bad).endswith(b"\r\n\r\n400 Bad Request: bad request-target\n")


def test_a_slow_head_leaves_nothing_behind() -> None:
    """http.md 3, 32: the next request line is judged from its first byte, at its end."""
    conn = connection()
    assert conn.receive(b"\r\n" + GET[:20]) == []
    assert len(conn.receive(GET[20:])) == 1
    answer(conn)
    assert conn.next_request() == []
    [bad] = conn.receive(b"GET /\r\n")
    assert isinstance(bad, BadRequest)
    assert bad.reason == "HTTP/0.9 is not served"


def test_without_pipelining_reading_goes_on() -> None:
    """http.md 34: a bound of 0 pauses at the first byte too many, not for ever."""
    conn = connection(pipeline=0)
    conn.receive(GET)
    assert conn.wants_read
    conn.receive(GET[:1])
    assert not conn.wants_read
    answer(conn)
    assert conn.next_request() == []
    assert conn.wants_read
    assert len(conn.receive(GET[1:])) == 1


# ---- bodies that nobody reads


def test_an_unread_body_is_drained() -> None:
    """http.md 30: the rest of the body is thrown away, then the next request is served."""
    conn = connection()
    assert len(conn.receive(POST + b"he")) == 2
    answer(conn)
    assert conn.keep_alive
    assert conn.drain_body()
    assert conn.receive(b"ll") == []
    [end] = conn.receive(b"o")
    assert isinstance(end, EndOfBody)
    assert conn.next_request() == []
    assert len(conn.receive(GET)) == 1


def test_a_drained_chunked_body_and_the_request_behind_it() -> None:
    """http.md 30: the framing is followed to its end while draining."""
    conn = connection()
    conn.receive(CHUNKED)
    answer(conn)
    assert conn.drain_body()
    [end] = conn.receive(b"5\r\nhello\r\n0\r\n\r\n" + GET)
    assert isinstance(end, EndOfBody)
    [again] = conn.next_request()
    assert isinstance(again, Request)


def test_a_long_known_rest_is_not_drained_and_the_answer_says_so() -> None:
    """http.md 30, 33: the head already says close."""
    conn = connection(drain=10)
    conn.receive(head(b"Content-Length: 12", line=b"POST / HTTP/1.1") + b"a")
    assert b"connection: close" in answer(conn)
    assert not conn.drain_body()


def test_a_long_rest_after_a_streamed_answer() -> None:
    """http.md 30: the head was out before; the connection closes all the same."""
    conn = connection(drain=10)
    conn.receive(head(b"Content-Length: 100", line=b"POST / HTTP/1.1"))
    conn.respond(200, [])
    assert b"connection: close" not in conn.body(b"a", True)
    conn.body(b"", False)
    assert not conn.drain_body()
    assert not conn.keep_alive


def test_a_long_unknown_rest_ends_the_draining() -> None:
    """http.md 30: chunks past the bound: the connection closes without another answer."""
    conn = connection(drain=100)
    conn.receive(CHUNKED)
    answer(conn)
    assert conn.drain_body()
    assert conn.receive(b"40\r\n" + b"a" * 64 + b"\r\n") == []
    [bad] = conn.receive(b"40\r\n" + b"a" * 64 + b"\r\n")
    assert isinstance(bad, BadRequest)
    assert conn.refuse(bad) == b""


def test_a_bad_chunk_while_draining() -> None:
    """http.md 30: what is thrown away is judged all the same."""
    conn = connection()
    conn.receive(CHUNKED)
    answer(conn)
    assert conn.drain_body()
    [bad] = conn.receive(b"x\r\n")
    assert isinstance(bad, BadRequest)
    assert not conn.keep_alive


def test_nothing_to_drain() -> None:
    """http.md 30: a complete request needs no draining; a closing one is not drained."""
    conn = serving()
    answer(conn)
    assert conn.drain_body()
    conn = serving(b"Connection: close", b"Content-Length: 5")
    answer(conn)
    assert not conn.drain_body()


# ---- Expect


def test_continue_is_sent_when_asked_for() -> None:
    """http.md 38: 100 only when the application reads (the caller asks), once."""
    conn = connection()
    [request] = conn.receive(EXPECTING)
    assert isinstance(request, Request)
    assert request.expect_continue
    assert conn.continue_pending
    assert conn.interim(100, ()) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert not conn.continue_pending
    assert conn.interim(100, ()) == b""
    assert [kind for kind, *_ in story(conn.receive(b"hello"))] == ["data", "end"]
    assert b"connection: close" not in answer(conn)


def test_continue_while_the_head_waits_for_the_body() -> None:
    """http.md 38: an application may name its status first and read then: nothing is answered yet."""
    conn = connection()
    conn.receive(EXPECTING)
    conn.respond(200, [])
    assert conn.interim(100, ()) == b"HTTP/1.1 100 Continue\r\n\r\n"
    conn.receive(b"hello")
    assert b"connection: close" not in conn.body(b"ok", False)


def test_no_continue_when_nobody_waits() -> None:
    """http.md 38: no 100 for a request that did not ask, or whose body is already coming."""
    conn = connection()
    conn.receive(POST)
    assert conn.interim(100, ()) == b""
    conn = connection()
    conn.receive(EXPECTING + b"h")
    assert not conn.continue_pending
    assert conn.interim(100, ()) == b""
    assert not connection().receive(EXPECTING.replace(b"1.1", b"1.0"))[0].expect_continue  # type: ignore[union-attr]


@pytest.mark.parametrize("streamed", [True, False])
def test_an_answer_instead_of_continue_closes(streamed: bool) -> None:
    """http.md 38: nobody knows whether the body will come, so the connection is not used again."""
    conn = connection()
    conn.receive(EXPECTING)
    conn.respond(403, [])
    assert b"connection: close" in conn.body(b"no", streamed)
    assert conn.interim(100, ()) == b""
    assert not conn.keep_alive
    assert not conn.continue_pending
    assert not conn.drain_body()


# ---- the end


def test_eof_between_requests() -> None:
    """http.md 37: nothing was cut."""
    [gone] = connection().receive_eof()
    assert isinstance(gone, Gone)
    assert gone.clean


@pytest.mark.parametrize("data", [GET[:1], GET[:-1], POST, POST + b"hell", CHUNKED + b"0\r\n"])
def test_eof_inside_a_request(data: bytes) -> None:
    """http.md 28: a cut request is said to be cut."""
    conn = connection()
    conn.receive(data)
    [gone] = conn.receive_eof()
    assert isinstance(gone, Gone)
    assert not gone.clean
    assert not conn.keep_alive
    assert not conn.wants_read


def test_a_half_closed_client_gets_its_whole_answer() -> None:
    """http.md 36: EOF after a complete request."""
    conn = serving()
    [gone] = conn.receive_eof()
    assert isinstance(gone, Gone)
    assert gone.clean
    sent = answer(conn)
    assert b"200 OK" in sent
    assert b"connection: close" in sent
    assert conn.receive_eof() == []


def test_a_half_closed_client_with_requests_in_the_pipe() -> None:
    """http.md 36: all complete requests are answered; what is incomplete behind them is reported, last."""
    events, written = conversation([GET * 3 + GET[:10]])
    kinds = [kind for kind, *_ in story(events)]
    assert kinds == ["request"] * 3 + ["gone"]
    assert written.count(b"200 OK") == 3

    conn = connection()
    conn.receive(GET * 2 + GET[:10])
    assert isinstance(conn.receive_eof()[0], Gone)
    assert b"connection: close" not in answer(conn)
    assert isinstance(conn.next_request()[0], Request)
    answer(conn)
    [gone] = conn.next_request()
    assert isinstance(gone, Gone)
    assert not gone.clean

    conn = connection()
    conn.receive(GET * 2)
    conn.receive_eof()
    answer(conn)
    conn.next_request()
    assert b"connection: close" in answer(conn)
    assert not conn.keep_alive


def test_detach() -> None:
    """http.md 39: another protocol gets the bytes behind the head, and this one says nothing more."""
    conn = serving(b"Connection: upgrade", b"Upgrade: websocket", rest=b"\x81\x80")
    conn.receive(b"\x00\x00")
    assert conn.detach() == b"\x81\x80\x00\x00"
    assert conn.receive(GET) == []
    assert conn.detach() == b""


def test_a_large_body_in_one_piece_is_not_copied() -> None:
    """http.md 32: a piece that is all body is given on as it is."""
    conn = connection()
    conn.receive(head(b"Content-Length: 100000", line=b"POST / HTTP/1.1"))
    piece = b"a" * 65536
    [data] = conn.receive(piece)
    assert isinstance(data, Data)
    assert data.data is piece


def test_state_does_not_leak_between_requests() -> None:
    """http.md 41: HEAD, HTTP/1.0 and a length belong to one request."""
    conn = connection()
    for line, status, headers, body, expected in (
        (b"HEAD / HTTP/1.1", 200, [(b"content-length", b"5")], b"", b"\r\n\r\n"),
        (b"GET / HTTP/1.1", 200, [], b"a", b"content-length: 1\r\n\r\na"),
        (b"GET / HTTP/1.0", 200, [], b"b", b"connection: keep-alive\r\n\r\nb"),
        (b"GET / HTTP/1.1", 204, [], b"c", b"\r\n\r\n"),
        (b"GET / HTTP/1.1", 200, [], b"d", b"content-length: 1\r\n\r\nd"),
    ):
        assert len(conn.receive(head(b"Connection: keep-alive", line=line))) == 1
        conn.respond(status, headers)
        sent = conn.body(body, False)
        assert sent.endswith(expected)
        assert (b"connection" in sent) is (line.endswith(b"1.0"))
        assert conn.next_request() == []
