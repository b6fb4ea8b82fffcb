"""Answers: checked before any byte is on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.errors import ResponseError
from arbiter.protocols.events import BadRequest
from arbiter.protocols.http1.answer_fields import FIELDS
from arbiter.protocols.http1.connection import ResponseDefaults
from tests.fakes.http1 import DATE, connection, serving

STANDARD = b"date: " + DATE + b"\r\nserver: arbiter\r\n"
POST = b"POST / HTTP/1.1"
OLD = b"GET / HTTP/1.0"


def lines_of(data: bytes) -> list[bytes]:
    return data.partition(b"\r\n\r\n")[0].split(b"\r\n")


# ---- what the application may not say


@pytest.mark.parametrize(
    "field",
    [
        *((b"Transfer-Encoding", b"chunked"), (b"transfer-encoding", b"gzip"), (b"Keep-Alive", b"timeout=5")),
        *(
            (b"Connection", b"keep-alive"),
            (b"Proxy-Connection", b"close"),
            (b"TE", b"trailers"),
            (b"Upgrade", b"h2c"),
        ),
    ],
)
def test_hop_by_hop_fields_are_dropped(field: tuple[bytes, bytes]) -> None:
    """http.md 42: hop-by-hop fields of the application never reach the wire as given."""
    conn = serving()
    conn.respond(200, [field, (b"x", b"1")])
    sent = conn.body(b"ok", False)
    assert sent == b"HTTP/1.1 200 OK\r\nx: 1\r\n" + STANDARD + b"content-length: 2\r\n\r\nok"


def test_transfer_encoding_beside_a_length() -> None:
    """http.md 42: never two framings."""
    conn = serving()
    conn.respond(200, [(b"transfer-encoding", b"chunked"), (b"content-length", b"2")])
    assert conn.body(b"ok", False).endswith(b"content-length: 2\r\n" + STANDARD + b"\r\nok")


def test_two_lengths() -> None:
    """http.md 42: a second Content-Length is an error, equal or not."""
    conn = serving()
    with pytest.raises(ResponseError, match="more than one content-length"):
        conn.respond(200, [(b"content-length", b"2"), (b"Content-Length", b"2")])


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1 ", b"a", b"1" * 20, b"1\r\n", "1", 1])
def test_bad_lengths(value: bytes) -> None:
    """http.md 42: a Content-Length is digits."""
    with pytest.raises(ResponseError, match="content-length"):
        serving().respond(200, [(b"content-length", value)])


def test_the_longest_length() -> None:
    """http.md 42: 19 digits are the most that is looked at."""
    conn = serving()
    conn.respond(200, [(b"content-length", b"9" * 19)])
    assert conn.length_left == 10**19 - 1


def test_upgrade_required() -> None:
    """RFC 9110 15.5.22: 426 must name the protocol, and Connection must name Upgrade."""
    conn = serving()
    conn.respond(426, [(b"Upgrade", b"websocket")])
    lines = lines_of(conn.body(b"", False))
    assert b"Upgrade: websocket" in lines
    assert b"connection: upgrade" in lines


@pytest.mark.parametrize("byte", [b"\r", b"\n", b"\0", b"\r\nSet-Cookie: a=b", b"\x1b", b"\x7f", b"\n "])
@pytest.mark.parametrize("place", ["name", "value", "reason", "date", "426"])
def test_no_injection(byte: bytes, place: str) -> None:
    """http.md 45: CR, LF, NUL in names, values or the reason: an error, nothing on the wire, 500 still
    possible.
    """
    conn = serving()
    status, headers, reason = 200, [(b"x", b"1")], b""
    if place == "name":
        headers.append((b"a" + byte + b"b", b"1"))
    elif place == "value":
        headers.append((b"a", b"1" + byte + b"2"))
    elif place == "reason":
        reason = b"Fine" + byte + b"thing"
    elif place == "date":
        headers.append((b"date", byte))
    else:
        status = 426
        headers.append((b"upgrade", b"a" + byte))
    with pytest.raises(ResponseError):
        conn.respond(status, headers, reason)
    assert (conn.started, conn.head_sent) == (False, False)
    conn.respond(500, [])
    assert conn.body(b"", False).startswith(b"HTTP/1.1 500 Internal Server Error\r\ndate: ")


def test_control_bytes_that_cancel_out() -> None:
    """http.md 45: the check counts ours against all; a dropped field's bytes count for nothing."""
    conn = serving()
    conn.respond(200, [(b"te", b"\r\n\r\n"), (b"x", b"1")])
    assert b"\r\n\r\n" not in conn.body(b"", True)[:-4]


def test_tabs_and_obs_text_are_fine() -> None:
    """http.md 45: HTAB and bytes above 0x7F are legal in values."""
    conn = serving()
    conn.respond(200, [(b"x", b"a\tb\xff")])
    assert b"\r\nx: a\tb\xff\r\n" in conn.body(b"", False)


@pytest.mark.parametrize(
    "headers",
    [
        [("x", "1")],
        [(b"x", "1")],
        [("x", b"1")],
        [(b"x", 1)],
        [(b"x",)],
        [b"x: 1"],
        [(b"", b"1")],
        [(b"a b", b"1")],
        [(b"a:", b"1")],
        5,
        [(bytearray(b"x"), b"1")],
    ],
    ids=repr,
)
def test_bad_fields(headers: object) -> None:
    """http.md 45, asgi.md 39: names are tokens, names and values are bytes."""
    conn = serving()
    with pytest.raises(ResponseError):
        conn.respond(200, headers)  # type: ignore[arg-type]
    assert not conn.started


def test_fields_are_any_iterable_of_pairs() -> None:
    """asgi.md 39: order is kept, repeats are kept, names are written as given."""
    conn = serving()
    conn.respond(200, iter([[b"Set-Cookie", b"a"], (b"X", b"1"), [b"set-cookie", b"b"]]))  # type: ignore[list-item]
    assert lines_of(conn.body(b"", False))[1:4] == [b"Set-Cookie: a", b"X: 1", b"set-cookie: b"]


# ---- what is remembered


def test_what_is_remembered_is_bounded() -> None:
    """An application that makes up fields grows nothing; the known ones keep their meaning."""
    for number in range(3000):
        serving().respond(200, [(b"x-name-%d" % number, b"1")])
        assert len(FIELDS) <= FIELDS.ENTRIES
    for _ in range(2):
        conn = serving()
        conn.respond(200, [(b"Content-Length", b"2")])
        assert conn.length_left == 2


@pytest.mark.parametrize(
    "field",
    [
        (b"Set-Cookie", b"session=x"),
        (b"X-Subject-Token", b"x"),
        (b"Location", b"/reset?token=x"),
        (b"ETag", b'"1"'),
        (b"Content-Length", b"10000"),
        (b"x-long", b"v" * 300),
        (b"Keep-Alive", b"v" * 100_000),
        (b"x", memoryview(b"v" * 100_000)[:1]),
        (b"x", type("Bytes", (bytes,), {})(b"v")),
    ],
)
def test_what_is_not_remembered(field: tuple[bytes, bytes]) -> None:
    """Credentials, what is long, what is another one next time, and what is not plainly bytes."""
    FIELDS.forget()
    serving().respond(200, [field])
    assert not FIELDS


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_a_remembered_field_is_judged_as_a_new_one(name: bytes, value: bytes) -> None:
    """What is remembered is a function of the field alone: given again, it has the same outcome."""

    def outcome() -> bytes | str:
        conn = serving()
        try:
            conn.respond(200, [(name, value)])
            return conn.body(b"", False)
        except ResponseError as error:
            return str(error)

    assert outcome() == outcome()


def test_a_value_that_can_change_is_read_anew() -> None:
    """asgi.md 39: a bytearray or a list is not what it was when its contents have changed."""
    value, pair = bytearray(b"1"), [b"y", b"1"]
    headers: list[Any] = [(b"x", value), pair, (b"z", memoryview(value))]
    serving().respond(200, headers)
    value[:], pair[1] = b"2", b"3"
    conn = serving()
    conn.respond(200, headers)
    assert lines_of(conn.body(b"", False))[1:4] == [b"x: 2", b"y: 3", b"z: 2"]


# ---- status line


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [
        (200, b"", b"HTTP/1.1 200 OK"),
        (404, b"", b"HTTP/1.1 404 Not Found"),
        (404, b"Not Found", b"HTTP/1.1 404 Not Found"),
        (404, b"Gone Fishing", b"HTTP/1.1 404 Gone Fishing"),
        (299, b"", b"HTTP/1.1 299 Success"),
        (599, b" ", b"HTTP/1.1 599 Server Error"),
        (799, b"", b"HTTP/1.1 799 Unknown"),
        (100, b"", b"HTTP/1.1 100 Continue"),
        (999, b"", b"HTTP/1.1 999 Unknown"),
    ],
)
def test_status_lines(status: int, reason: bytes, line: bytes) -> None:
    """http.md 44: three digits, and a reason that is never empty."""
    conn = serving()
    conn.respond(status, [], reason)
    assert lines_of(conn.body(b"", False))[0] == line


@pytest.mark.parametrize("status", [0, 99, 1000, -200, "200", None, 200.5], ids=repr)
def test_bad_statuses(status: int) -> None:
    """http.md 44: everything else is an error of the application."""
    with pytest.raises(ResponseError, match="status"):
        serving().respond(status, [])


# ---- defaults


def test_date_and_server_can_be_given() -> None:
    """http.md 46: the application's Date or Server replaces ours."""
    for mine, kept in ((b"Date", b"server: arbiter"), (b"SERVER", b"date: " + DATE)):
        conn = serving()
        conn.respond(200, [(mine, b"mine")])
        assert lines_of(conn.body(b"", False))[1:3] == [mine + b": mine", kept]
    conn = serving()
    conn.respond(200, [(b"date", b"x"), (b"server", b"y")])
    assert lines_of(conn.body(b"", False))[1:] == [b"date: x", b"server: y", b"content-length: 0"]


def test_server_can_be_removed() -> None:
    """http.md 46: an empty server setting sends none."""
    conn = connection(server=b"")
    assert b"server" not in conn.error(500)
    assert b"date: " + DATE in conn.error(500) + connection(server=b"").error(500)


def test_date_is_refreshed_for_all_connections() -> None:
    """http.md 46: one line per worker, made once a second."""
    defaults = ResponseDefaults(b"arbiter")
    assert defaults.lines == b"server: arbiter\r\n"
    defaults.refresh(b"now")
    assert defaults.lines == b"date: now\r\nserver: arbiter\r\n"


def test_a_server_name_cannot_inject() -> None:
    """http.md 45: not even the operator's."""
    with pytest.raises(ValueError, match="control byte"):
        ResponseDefaults(b"a\r\nb: c")


# ---- connection


@pytest.mark.parametrize(
    ("line", "asked", "said", "answer"),
    [
        (b"GET / HTTP/1.1", b"", b"", []),
        (b"GET / HTTP/1.1", b"keep-alive", b"", []),
        (b"GET / HTTP/1.1", b"close", b"", [b"connection: close"]),
        (b"GET / HTTP/1.1", b"", b"close", [b"connection: close"]),
        (b"GET / HTTP/1.1", b"", b"x, Close", [b"connection: close"]),
        (b"GET / HTTP/1.1", b"close", b"keep-alive", [b"connection: close"]),
        (b"GET / HTTP/1.0", b"", b"", [b"connection: close"]),
        (b"GET / HTTP/1.0", b"", b"keep-alive", [b"connection: close"]),
        (b"GET / HTTP/1.0", b"keep-alive", b"", [b"connection: keep-alive"]),
        (b"GET / HTTP/1.0", b"keep-alive", b"close", [b"connection: close"]),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_the_answer_says_what_happens(
    line: bytes, asked: bytes, said: bytes, answer: list[bytes], streamed: bool
) -> None:
    """http.md 33: one Connection field, and it is the truth."""
    conn = serving(*([b"Connection: " + asked] if asked else []), line=line)
    conn.respond(200, [(b"content-length", b"2"), *([(b"Connection", said)] if said else [])])
    sent = conn.body(b"o", True) + conn.body(b"k", False) if streamed else conn.body(b"ok", False)
    assert [x for x in lines_of(sent) if x.lower().startswith(b"connection")] == answer
    assert conn.keep_alive is (answer != [b"connection: close"])


@pytest.mark.parametrize("streamed", [True, False])
def test_the_server_may_close(streamed: bool) -> None:
    """http.md 40: on drain the last answer says close."""
    conn = serving()
    conn.respond(200, [])
    conn.keep_alive = False
    assert b"\r\nconnection: close\r\n" in conn.body(b"ok", streamed)


# ---- order of calls


def test_order_of_calls() -> None:
    """asgi.md 41, 43: no body before the head, no second head, nothing after the end."""
    conn = serving()
    for early in (lambda: conn.body(b"", False), lambda: conn.file_body(1, False), lambda: conn.trailers([])):
        with pytest.raises(ResponseError, match="after its head"):
            early()
    conn.respond(200, [])
    with pytest.raises(ResponseError, match="already started"):
        conn.respond(200, [])
    conn.body(b"", False)
    with pytest.raises(ResponseError, match="already started"):
        conn.respond(200, [])
    for late in (lambda: conn.body(b"a", False), lambda: conn.body(b"", True)):
        with pytest.raises(ResponseError, match="already complete"):
            late()


# ---- the server's own answers


def test_refusals() -> None:
    """http.md 48: small, typed, closing, with a fixed reason and nothing of the detail."""
    conn = connection()
    [bad] = conn.receive(b"GET / HTTP/1.1\r\nHost: a\r\nX : secret\r\n\r\n")
    assert isinstance(bad, BadRequest)
    assert conn.refuse(bad) == (
        b"HTTP/1.1 400 Bad Request\r\n" + STANDARD + b"content-type: text/plain; charset=utf-8\r\n"
        b"content-length: 41\r\nconnection: close\r\n\r\n400 Bad Request: whitespace before colon\n"
    )
    assert conn.finished
    assert not conn.keep_alive
    assert conn.refuse(bad) == b""


@pytest.mark.parametrize("status", [408, 500, 503, 504])
def test_errors(status: int) -> None:
    """http.md 48: the same for the server's own errors; an unsent head of the application is forgotten."""
    conn = serving()
    conn.respond(204, [(b"x", b"application")])
    sent = conn.error(status)
    first, *_ = lines_of(sent)
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in lines_of(sent)
    assert b"application" not in sent
    body = sent.partition(b"\r\n\r\n")[2]
    assert b"content-length: %d" % len(body) in lines_of(sent)


def test_an_error_for_head() -> None:
    """http.md 41: an answer to HEAD has no body, the server's own neither."""
    sent = serving(line=b"HEAD / HTTP/1.1").error(500)
    assert sent.endswith(b"\r\n\r\n")
    assert b"content-length: 26\r\n" in sent
