"""Request bodies: complete only when the framing says so."""

from __future__ import annotations

import pytest

from arbiter.protocols.events import BadRequest, Data, EndOfBody, Event, Gone
from arbiter.protocols.http1.body import ChunkedBody, LengthBody
from arbiter.protocols.limits import Limits
from tests.fakes.http1 import connection, conversation, head, refusal, story

CHUNKED = head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1")


def body_of(data: bytes, **bounds: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The decoded body and the trailers of a complete chunked body."""
    events: list[Event] = []
    decoder = ChunkedBody(Limits(**bounds))
    assert decoder.feed(data, events) == b""
    body = b"".join(event.data for event in events if isinstance(event, Data))
    return body, [field.pair for field in decoder.trailers]


def reason(data: bytes, **bounds: int) -> tuple[int, str]:
    return refusal(CHUNKED + data, **bounds)


def test_length_to_the_byte() -> None:
    """http.md 22: exactly Content-Length bytes; what follows is the next request's."""
    events: list[Event] = []
    decoder = LengthBody(5)
    assert decoder.feed(b"he", events) is None
    assert decoder.left == 3
    assert decoder.feed(b"lloGET", events) == b"GET"
    assert [event.data for event in events if isinstance(event, Data)] == [b"he", b"llo"]


def test_chunks() -> None:
    """http.md 24: sizes in either case, with leading zeros."""
    data = b"5\r\nhello\r\nA\r\n0123456789\r\n00a\r\n0123456789\r\n0\r\n\r\n"
    assert body_of(data) == (b"hello01234567890123456789", [])


def test_an_empty_chunked_body() -> None:
    """http.md 24: the last chunk may be the first, with any number of zeros up to the bound."""
    assert body_of(b"0\r\n\r\n") == (b"", [])
    assert body_of(b"0000\r\n\r\n") == (b"", [])


def test_many_chunks_are_one_event() -> None:
    """http.md 32: a flood of tiny chunks does not become a flood of events."""
    events: list[Event] = []
    ChunkedBody(Limits()).feed(b"1\r\na\r\n" * 10000, events)
    assert [event.data for event in events if isinstance(event, Data)] == [b"a" * 10000]


@pytest.mark.parametrize(
    "size",
    [
        *(
            b"",
            b"+5",
            b"-5",
            b"0x5",
            b"5_0",
            b" 5",
            b"5 ",
            b"\t5",
            b"5\t",
            b"g",
            b"5 5",
            b"5.",
            b"\xd9\xa5",
            b"\x0b5",
        ),
        *(b"1" * 17, b"0" * 17, b"5\r", b"5\x00", b",5"),
    ],
)
def test_bad_chunk_sizes(size: bytes) -> None:
    """http.md 24: 1*HEXDIG, bounded; no sign, prefix, underscore or blank."""
    assert reason(size + b"\r\nhello\r\n0\r\n\r\n") == (400, "bad chunk size")


@pytest.mark.parametrize(
    "extension",
    [b";a", b";a=b", b';a="b;c"', b';a="\\""', b" ; a = b", b"\t;a", b";a;b=c;d", b';a=""', b';a="\xff"'],
)
def test_chunk_extensions_are_ignored(extension: bytes) -> None:
    """http.md 25: extensions by the grammar, with BWS where the grammar has it."""
    data = b"5" + extension + b"\r\nhello\r\n0" + extension + b"\r\n\r\n"
    assert body_of(data) == (b"hello", [])


@pytest.mark.parametrize(
    "extension",
    [
        b";",
        b";;a",
        b";a=",
        b";a=b c",
        b';a="b',
        b";a=\x00",
        b";a\rb",
        b';a="\r"',
        b";a\n",
        b'; "a"',
        b";a ",
        b" x",
    ],
)
def test_bad_chunk_extensions(extension: bytes) -> None:
    """http.md 25: no bare CR or LF inside (gunicorn 3327), nothing the grammar does not have."""
    assert reason(b"5" + extension + b"\r\nhello\r\n0\r\n\r\n") == (400, "bad chunk size")


@pytest.mark.parametrize("whole", [True, False])
def test_long_chunk_extensions(whole: bool) -> None:
    """http.md 25: bounded, also while the line's end has not come."""
    line = b"5;" + b"a" * 100
    end = b"\r\n" if whole else b""
    assert reason(line + end, chunk_line=100)[0] == 400
    assert reason(line + b"aa" + end, chunk_line=100) == (400, "chunk-size line too long")
    assert body_of(line + b"\r\nhello\r\n0\r\n\r\n", chunk_line=102) == (b"hello", [])


@pytest.mark.parametrize("after", [b"\n", b"\rX", b"X", b"\n\r", b"00\r\n", b"\r\r\n"])
def test_chunk_data_ends_with_crlf(after: bytes) -> None:
    """http.md 26: exactly CRLF after the data."""
    assert reason(b"5\r\nhello" + after) == (400, "chunk data not followed by CRLF")


def test_bare_newlines_between_chunks() -> None:
    """http.md 24, 26: a size line ends with CRLF."""
    assert reason(b"5\nhello\r\n") == (400, "bad chunk size")
    assert reason(b"0\n\n") == (400, "bad chunk size")


def test_trailers() -> None:
    """http.md 27: trailer fields are judged as fields and come with EndOfBody, never among the headers."""
    conn = connection()
    data = b"5\r\nhello\r\n0\r\nX-Sum: 1 \r\nx-sum: 2\r\n\r\n"
    request, _, end = conn.receive(CHUNKED + data)
    assert isinstance(end, EndOfBody)
    assert [field.pair for field in end.trailers] == [(b"x-sum", b"1"), (b"x-sum", b"2")]
    assert len(request.fields) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("line", [b"X : a", b" X: a", b"X", b": a", b"X: a\x00", b"X: a\rb"])
def test_bad_trailers(line: bytes) -> None:
    """http.md 27: a trailer that would be refused as a header is refused."""
    assert reason(b"0\r\n" + line + b"\r\n\r\n")[0] == 400


@pytest.mark.parametrize("line", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: a"])
def test_framing_fields_in_trailers(line: bytes) -> None:
    """http.md 27: framing and routing in trailers is an attack, and refused."""
    assert reason(b"0\r\n" + line + b"\r\n\r\n") == (400, "framing field in trailers")


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"Authorization: x",
            b"Cookie: a=b",
            b"Content-Type: a/b",
            b"Connection: close",
            b"Expect: 100-continue",
        ),
        *(
            b"X-Forwarded-For: 1.2.3.4",
            b"Forwarded: for=a",
            b"TE: trailers",
            b"Upgrade: a",
            b"A_B: 1",
            b"Proxy: a",
        ),
    ],
)
def test_fields_that_are_no_trailers(line: bytes) -> None:
    """http.md 27: names that must not come in trailers are dropped."""
    assert body_of(b"0\r\n" + line + b"\r\nX: 1\r\n\r\n") == (b"", [(b"x", b"1")])


@pytest.mark.parametrize("whole", [True, False])
def test_limits_on_trailers(whole: bool) -> None:
    """http.md 27: bounded like a head: one, all, their number."""
    end = b"\r\n" if whole else b""
    field = b"X: " + b"a" * 100 + b"\r\n"
    assert reason(b"0\r\n" + field + end, field_size=102)[0] == 431
    assert reason(b"0\r\n" + field * 4 + end, head=400)[0] == 431
    assert reason(b"0\r\nA: 1\r\nB: 1\r\nC: 1\r\n\r\n", fields=2) == (431, "too many trailer fields")


def test_a_chunked_body_over_the_limit() -> None:
    """http.md 23: 413 as soon as the sizes add up to too much."""
    assert reason(b"6\r\nhello!\r\n5\r\n", body=10) == (413, "request body too large")
    assert reason(b"ffffffffffffffff\r\n", body=10) == (413, "request body too large")
    assert body_of(b"5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n", body=10) == (b"hellohello", [])


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"5", b"5\r", b"5\r\n", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r", b"5\r\nhello\r\n"),
        *(b"5\r\nhello\r\n0", b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\n\r", b"0\r\nX: 1\r\n"),
    ],
)
def test_a_cut_chunked_body_is_never_complete(data: bytes) -> None:
    """http.md 28: EOF inside a message (gunicorn 3382: `0\\r\\n` alone)."""
    events, _ = conversation([CHUNKED + data])
    assert not any(isinstance(event, EndOfBody) for event in events)
    assert isinstance(events[-1], Gone)
    assert not events[-1].clean


@pytest.mark.parametrize("data", [b"", b"hell"])
def test_a_cut_body_with_a_length_is_never_complete(data: bytes) -> None:
    """http.md 28: EOF before Content-Length."""
    events, _ = conversation([head(b"Content-Length: 5") + data])
    assert [kind for kind, *_ in story(events)][-1] == "gone"
    assert not any(isinstance(event, EndOfBody) for event in events)


def test_what_came_before_a_fault_is_given_first() -> None:
    """http.md 32: data decoded before a bad chunk is the same however the bytes came."""
    events = connection().receive(CHUNKED + b"5\r\nhello\r\nX")
    assert [kind for kind, *_ in story(events)] == ["request", "data"]
    conn = connection()
    kinds = [type(event) for event in conn.receive(CHUNKED + b"5\r\nhello\r\nX\r\n")][1:]
    assert kinds == [Data, BadRequest]
    assert conn.receive(b"0\r\n\r\n") == []
