"""Answers: checked before any byte is on the wire, framed by us."""

from __future__ import annotations

import pytest

from arbiter.errors import ResponseError
from arbiter.protocols.events import BadRequest
from arbiter.protocols.http1.connection import ResponseDefaults
from tests.fakes.http1 import DATE, connection, serving

STANDARD = b"date: " + DATE + b"\r\nserver: arbiter\r\n"
POST = b"POST / HTTP/1.1"
OLD = b"GET / HTTP/1.0"


def lines_of(data: bytes) -> list[bytes]:
    return data.partition(b"\r\n\r\n")[0].split(b"\r\n")


# ---- framing


def test_one_write_for_head_and_body() -> None:
    """http.md 42: a whole body is sent with its length, in one piece with the head."""
    conn = serving()
    conn.respond(200, [(b"Content-Type", b"text/plain")])
    assert (conn.started, conn.head_sent, conn.finished) == (True, False, False)
    assert conn.body(b"hello", False) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + STANDARD + b"content-length: 5\r\n\r\nhello"
    )
    assert (conn.head_sent, conn.finished, conn.keep_alive, conn.length_left) == (True, True, True, 0)


def test_the_length_of_the_application() -> None:
    """http.md 42: one Content-Length, the application's where it gave one."""
    conn = serving()
    conn.respond(200, [(b"Content-Length", b"5")])
    assert conn.length_left == 5
    sent = conn.body(b"he", True) + conn.body(b"llo", False)
    assert sent == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + STANDARD + b"\r\nhello"
    assert conn.length_left == 0


def test_chunks() -> None:
    """http.md 42: several parts without a length are chunked in HTTP/1.1; empty parts are not chunks."""
    conn = serving()
    conn.respond(200, [])
    assert conn.body(b"", True) == b"HTTP/1.1 200 OK\r\n" + STANDARD + b"transfer-encoding: chunked\r\n\r\n"
    assert conn.body(b"hello world!", True) == b"c\r\nhello world!\r\n"
    assert conn.body(b"", True) == b""
    assert conn.body(b"x", False) == b"1\r\nx\r\n0\r\n\r\n"
    assert conn.keep_alive


def test_the_end_of_chunks_alone() -> None:
    """http.md 42: an empty last part is the terminator."""
    conn = serving()
    conn.respond(200, [])
    conn.body(b"a", True)
    assert conn.body(b"", False) == b"0\r\n\r\n"


def test_close_delimited_to_http10() -> None:
    """http.md 42: HTTP/1.0 knows no chunks: the end of the connection is the end of the body."""
    conn = serving(b"Connection: keep-alive", line=OLD)
    conn.respond(200, [])
    first = conn.body(b"a", True)
    assert lines_of(first) == [b"HTTP/1.1 200 OK", *STANDARD.split(b"\r\n")[:-1], b"connection: close"]
    assert first.endswith(b"\r\n\r\na")
    assert conn.body(b"b", False) == b"b"
    assert not conn.keep_alive


@pytest.mark.parametrize(
    "data", [bytearray(b"hello"), memoryview(b"hello"), memoryview(b"h-e-l-l-o")[::2]], ids=repr
)
def test_kinds_of_bytes(data: bytearray | memoryview) -> None:
    """asgi.md 42: bytearray and memoryview are bytes."""
    conn = serving()
    conn.respond(200, [])
    assert conn.body(data, False).endswith(b"content-length: 5\r\n\r\nhello")


def test_a_memoryview_of_larger_items_is_counted_in_bytes() -> None:
    """http.md 43: len() of a memoryview counts items, a length counts bytes."""
    conn = serving()
    conn.respond(200, [])
    conn.body(b"", True)
    assert conn.body(memoryview(b"01234567").cast("I"), True) == b"8\r\n01234567\r\n"


def test_other_bodies_are_refused() -> None:
    """asgi.md 42: str is no body, and refusing it leaves the head unsent."""
    conn = serving()
    conn.respond(200, [])
    with pytest.raises(ResponseError, match="not str"):
        conn.body("hello", False)  # type: ignore[arg-type]
    assert not conn.head_sent
    assert conn.error(500).startswith(b"HTTP/1.1 500 ")


def test_too_many_bytes() -> None:
    """http.md 43: not one byte of a part that goes past Content-Length is returned."""
    conn = serving()
    conn.respond(200, [(b"content-length", b"5")])
    with pytest.raises(ResponseError, match="1 bytes longer"):
        conn.body(b"hello!", False)
    assert not conn.head_sent
    assert conn.error(500).startswith(b"HTTP/1.1 500 ")

    conn = serving()
    conn.respond(200, [(b"content-length", b"5")])
    conn.body(b"hell", True)
    with pytest.raises(ResponseError, match="1 bytes longer"):
        conn.body(b"oo", True)
    assert conn.length_left == 1


@pytest.mark.parametrize("parts", [[b"hell"], [b"he", b"l"], [b"hell", b""], [b""]])
def test_too_few_bytes(parts: list[bytes]) -> None:
    """http.md 43, 47: an end before Content-Length is no end: the caller is told to break the connection."""
    conn = serving()
    conn.respond(200, [(b"content-length", b"5")])
    *first, last = parts
    for part in first:
        conn.body(part, True)
    with pytest.raises(ResponseError, match="shorter"):
        conn.body(last, False)
    assert not conn.finished
    assert not conn.keep_alive


def test_a_response_that_stops_has_no_terminator() -> None:
    """http.md 47: an error after the start adds nothing to the wire that looks like an end."""
    conn = serving()
    conn.respond(200, [])
    conn.body(b"a", True)
    assert conn.error(500) == b""
    assert conn.refuse(BadRequest(400, "bad chunk size")) == b""
    assert not conn.keep_alive
    assert not conn.finished


# ---- no body


@pytest.mark.parametrize("status", [204, 304, 199])
def test_statuses_without_body(status: int) -> None:
    """http.md 41: no body bytes and no framing, whatever the application yields."""
    conn = serving()
    conn.respond(status, [])
    assert conn.no_body
    sent = conn.body(b"a", True) + conn.body(b"b", False)
    assert sent.endswith(b"\r\n\r\n")
    assert b"content-length" not in sent
    assert b"transfer-encoding" not in sent
    assert conn.keep_alive is (status != 199)


def test_no_length_with_204() -> None:
    """http.md 41: Content-Length must not be sent with 204 and 1xx; with 304 it may (RFC 9110 8.6)."""
    for status, kept in ((204, False), (199, False), (304, True)):
        conn = serving()
        conn.respond(status, [(b"Content-Length", b"5")])
        assert conn.length_left == -1
        assert (b"Content-Length: 5" in conn.body(b"hello", False)) is kept


@pytest.mark.parametrize(
    ("fields", "parts", "framing"),
    [
        ([], [b"hello"], [b"content-length: 5"]),
        ([], [b""], []),
        ([], [b"hel", b"lo"], []),
        ([(b"content-length", b"7")], [b""], [b"content-length: 7"]),
        ([(b"content-length", b"7")], [b"hello", b"hello"], [b"content-length: 7"]),
    ],
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_head_has_the_headers_of_get(
    fields: list[tuple[bytes, bytes]], parts: list[bytes], framing: list[bytes], version: bytes
) -> None:
    """http.md 41: HEAD keeps the headers of GET and has no body bytes."""
    conn = serving(b"Connection: keep-alive", line=b"HEAD / HTTP/" + version)
    conn.respond(200, fields)
    assert conn.no_body
    sent = b"".join(conn.body(part, number < len(parts)) for number, part in enumerate(parts, 1))
    assert sent.endswith(b"\r\n\r\n")
    assert [line for line in lines_of(sent) if line.startswith((b"content-l", b"transfer"))] == framing
    assert conn.keep_alive


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


# ---- files, trailers, interim responses


def test_a_file_with_a_length() -> None:
    """http.md 42, 43: the head before sendfile, the bytes counted as sent."""
    conn = serving()
    conn.respond(200, [(b"content-length", b"10")])
    first = conn.file_body(4, True)
    assert first is not None
    assert first.endswith(b"\r\n\r\n")
    assert conn.length_left == 6
    assert conn.body(b"ab", True) == b"ab"
    assert conn.file_body(4, False) == b""
    assert conn.finished
    with pytest.raises(ResponseError, match="complete"):
        conn.file_body(1, False)


def test_a_whole_file_without_a_length() -> None:
    """http.md 42: the size of the file becomes the length."""
    conn = serving()
    conn.respond(200, [])
    assert (conn.file_body(1234, False) or b"").endswith(b"content-length: 1234\r\n\r\n")


def test_a_file_among_chunks_is_read() -> None:
    """http.md 42: raw bytes cannot be chunks: the caller falls back, before and after the head."""
    conn = serving()
    conn.respond(200, [])
    assert conn.file_body(4, True) is None
    assert not conn.head_sent
    conn.body(b"a", True)
    assert conn.file_body(4, False) is None
    assert not conn.finished


def test_a_file_to_http10() -> None:
    """http.md 42: close-delimited bytes may come from a file."""
    conn = serving(line=OLD)
    conn.respond(200, [])
    assert (conn.file_body(4, True) or b"").endswith(b"connection: close\r\n\r\n")
    assert conn.file_body(4, False) == b""


@pytest.mark.parametrize("count", [9, 11])
def test_a_file_of_the_wrong_size(count: int) -> None:
    """http.md 43: a file counts like bytes."""
    conn = serving()
    conn.respond(200, [(b"content-length", b"10")])
    with pytest.raises(ResponseError, match="than its content-length"):
        conn.file_body(count, False)


def test_a_file_for_head() -> None:
    """http.md 41: the caller sends nothing where `no_body` says so."""
    conn = serving(line=b"HEAD / HTTP/1.1")
    conn.respond(200, [])
    assert (conn.file_body(10, False) or b"").endswith(b"content-length: 10\r\n\r\n")
    assert conn.no_body
    assert conn.finished


def test_trailers() -> None:
    """http.md 42: trailers end a chunked response; framing and hop-by-hop fields are no trailers."""
    conn = serving()
    conn.respond(200, [(b"Trailer", b"x-sum")], trailers=True)
    assert b"\r\ntransfer-encoding: chunked\r\n" in conn.body(b"hello", True)
    sent = conn.trailers([(b"X-Sum", b"1"), (b"Content-Length", b"5"), (b"Connection", b"close")])
    assert sent == b"0\r\nX-Sum: 1\r\n\r\n"
    assert conn.finished
    with pytest.raises(ResponseError, match="complete"):
        conn.trailers([])


def test_trailers_keep_a_single_part_chunked() -> None:
    """http.md 42: announced trailers need chunks even when the body is one part."""
    conn = serving()
    conn.respond(200, [], trailers=True)
    assert conn.body(b"hello", False).endswith(b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize("how", ["old", "head", "length", "unannounced"])
def test_trailers_where_there_is_no_place(how: str) -> None:
    """http.md 42: to HTTP/1.0, HEAD, with a length, or not announced: left out."""
    lines = {"old": OLD, "head": b"HEAD / HTTP/1.1"}
    conn = serving(line=lines.get(how, b"GET / HTTP/1.1"))
    conn.respond(200, [(b"content-length", b"2")] if how == "length" else [], trailers=how != "unannounced")
    sent = conn.body(b"ok", True)
    assert b"x-sum" not in sent + conn.trailers([(b"x-sum", b"1")])
    assert conn.finished


def test_trailers_are_checked() -> None:
    """http.md 45: no injection here either, and none before the body."""
    conn = serving()
    conn.respond(200, [], trailers=True)
    with pytest.raises(ResponseError, match="after the body"):
        conn.trailers([])
    conn.body(b"a", True)
    for bad in ([(b"x", b"1\r\n\r\n")], [(b"x\n", b"1")], [("x", "1")], [(b"x", 1)]):
        with pytest.raises(ResponseError):
            conn.trailers(bad)  # type: ignore[arg-type]
    assert not conn.finished


def test_early_hints() -> None:
    """asgi.md 56: a 103 before the answer, not to HTTP/1.0, not after the start, without framing of its
    own.
    """
    link = [(b"Link", b"</a.css>; rel=preload"), (b"Content-Length", b"5"), (b"Connection", b"close")]
    conn = serving()
    assert conn.interim(103, link) == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    conn.respond(200, [])
    assert conn.interim(103, link) == b""
    assert serving(line=OLD).interim(103, link) == b""
    assert conn.keep_alive


@pytest.mark.parametrize("status", [101, 200, 199, 0])
def test_what_is_no_interim_response(status: int) -> None:
    """http.md 44: 100, 102 and 103 only; 101 would change the protocol."""
    with pytest.raises(ResponseError, match="interim"):
        serving().interim(status, [])


def test_an_interim_response_is_checked() -> None:
    """http.md 45: no injection."""
    with pytest.raises(ResponseError, match="control byte"):
        serving().interim(103, [(b"Link", b"a\r\nb: c")])


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
