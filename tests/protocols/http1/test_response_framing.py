"""The framing of answers: one of length, chunks and close; files, trailers and interim responses."""

from __future__ import annotations

import pytest

from arbiter.errors import ResponseError
from arbiter.protocols.events import BadRequest
from tests.fakes.http1 import DATE, serving

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


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"GET / HTTP/1.0", b"HEAD / HTTP/1.1"])
@pytest.mark.parametrize("fields", [[], [(b"Content-Length", b"4")]], ids=["free", "sized"])
@pytest.mark.parametrize("parts", [[b"abcd"], [b"ab", b"cd"], [b"", b"abcd", b""], [b"abc", b"d"]], ids=repr)
def test_pieces_are_what_would_be_one(
    line: bytes, fields: list[tuple[bytes, bytes]], parts: list[bytes]
) -> None:
    """http.md 42: however a part is written, the same bytes are on the wire."""
    joined, gathered = serving(line=line), serving(line=line)
    for conn in (joined, gathered):
        conn.respond(200, fields)
    for number, part in enumerate(parts, 1):
        more = number < len(parts)
        assert b"".join(gathered.pieces(part, more)) == joined.body(part, more)
    assert (joined.finished, joined.keep_alive) == (gathered.finished, gathered.keep_alive)


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
    "data",
    [bytearray(b"hello"), memoryview(b"hello"), memoryview(b"h-e-l-l-o")[::2]],
    ids=["bytearray", "memoryview", "sliced"],
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
    with pytest.raises(ResponseError, match="1 byte longer"):
        conn.body(b"hello!", False)
    assert not conn.head_sent
    assert conn.error(500).startswith(b"HTTP/1.1 500 ")

    conn = serving()
    conn.respond(200, [(b"content-length", b"5")])
    conn.body(b"hell", True)
    with pytest.raises(ResponseError, match="1 byte longer"):
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


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("status", [204, 304, 199])
def test_statuses_without_body(status: int, whole: bool) -> None:
    """http.md 41: no body bytes and no framing, whatever the application yields."""
    conn = serving()
    conn.respond(status, [])
    assert conn.no_body
    sent = conn.body(b"a", False) if whole else conn.body(b"a", True) + conn.body(b"b", False)
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
    framing = [(b"Content-Length", b"abc"), (b"TE", 5), (b"x", b"1")]
    assert conn.trailers(framing) == b"0\r\nx: 1\r\n\r\n"  # type: ignore[arg-type]  # not even looked at


def test_early_hints() -> None:
    """asgi.md 56: a 103 before the answer, not to HTTP/1.0, not after the start, without framing of its
    own.
    """
    link = [(b"Link", b"</a.css>; rel=preload"), (b"Content-Length", b"5"), (b"Connection", b"close")]
    conn = serving()
    assert conn.interim(103, link) == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    conn.respond(200, [])
    conn.body(b"", True)
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
