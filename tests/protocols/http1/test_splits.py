"""http.md 32: every split of the byte stream gives the same result."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fakes.http1 import conversation, head, story

LIMITS = {"request_line": 60, "field_size": 50, "head": 150, "fields": 4, "chunk_line": 20, "body": 100}
"""Small, so that short streams reach every bound."""

FRAGMENTS = st.sampled_from(
    [
        *(b"GET / HTTP/1.1\r\n", b"POST /a?b HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", b"OPTIONS * HTTP/1.1\r\n"),
        *(b"GET /\r\n", b"PRI * HTTP/2.0\r\n", b"GET http://b/ HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n"),
        *(b"Host: a\r\n", b"Host : a\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
        *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n"),
        *(b"A_B: c\r\n", b"X: y\r\n", b"X: " + b"y" * 60 + b"\r\n", b"X: " + b"y" * 40 + b"\r\n"),
        *(
            b"\r\n",
            b"\r\n\r\n",
            b"\n",
            b"\r",
            b"\0",
            b" ",
            b" folded\r\n",
            b"X\r\n",
            b"\x16\x03\x01",
            b"a" * 30,
        ),
        *(b"5;a=b\r\nhello\r\n", b"5\r\nhello\r\n", b"hello", b"0\r\n\r\n", b"0\r\n", b"5", b";x", b"g\r\n"),
        b"3f\r\n" + b"z" * 63 + b"\r\n",
    ]
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Mostly well-formed requests, one after the other, with faults thrown in."""
    parts: list[bytes] = []
    for _ in range(draw(st.integers(1, 3))):
        chunked = draw(st.sampled_from([b"", b"Transfer-Encoding: chunked", b"Content-Length: 5"]))
        fields = [chunked] if chunked else []
        body = {b"": b"", b"Content-Length: 5": b"hello"}.get(
            chunked, b"2\r\nhe\r\n3;a\r\nllo\r\n0\r\nT: 1\r\n\r\n"
        )
        parts += [head(*fields), body]
    data = b"".join(parts)
    for _ in range(draw(st.integers(0, 3))):
        where = draw(st.integers(0, len(data)))
        data = data[:where] + draw(FRAGMENTS) + data[where + draw(st.integers(0, 3)) :]
    return data


def pieces_of(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    start = 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        if cut > start:
            yield data[start:cut]
        start = max(start, cut)


def same(data: bytes, cuts: list[int]) -> None:
    whole, written = conversation([data], **LIMITS)
    split, split_written = conversation(pieces_of(data, cuts), **LIMITS)
    assert list(story(split)) == list(story(whole))
    assert split_written == written
    bytewise, _ = conversation((data[i : i + 1] for i in range(len(data))), **LIMITS)
    assert list(story(bytewise)) == list(story(whole))


@given(streams(), st.lists(st.integers(0, 1000), max_size=8))
@example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", [1, 3])
@example(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 48 + b"\r\n\r\n", [])
def test_requests_with_faults(data: bytes, cuts: list[int]) -> None:
    """http.md 32: whole, cut anywhere, one byte at a time: the same events, the same answers."""
    same(data, cuts)


@given(st.lists(FRAGMENTS, max_size=14).map(b"".join), st.lists(st.integers(0, 1000), max_size=8))
def test_heaps_of_fragments(data: bytes, cuts: list[int]) -> None:
    """http.md 32: the same for what hardly ever is a request."""
    same(data, cuts)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    """http.md 32: the same for noise, which also never raises."""
    same(data, cuts)


def padded(start: bytes, end: bytes, size: int) -> bytes:
    return start + b"a" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize(
    ("before", "line", "after", "status"),
    [
        (b"", (b"GET /", b" HTTP/1.1", 60), b"\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", (b"X: ", b"", 50), b"\r\n\r\n", 431),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 47 + b"\r\nB: " + b"b" * 37 + b"\r\n",
            (b"X: ", b"", 31),
            b"\r\n\r\n",
            431,
        ),
        (head(b"Transfer-Encoding: chunked"), (b"5;", b"", 20), b"\r\nhello\r\n0\r\n\r\n", 400),
        (head(b"Transfer-Encoding: chunked") + b"0\r\n", (b"X: ", b"", 50), b"\r\n\r\n", 431),
        (head(b"Transfer-Encoding: chunked"), (b"64\r\n", b"", 104), b"\r\n0\r\n\r\n", 0),
    ],
    ids=["request-line", "field", "head", "chunk-line", "trailer", "body"],
)
def test_at_the_bounds(
    before: bytes, line: tuple[bytes, bytes, int], after: bytes, status: int, over: int
) -> None:
    """http.md 6, 14, 23, 25, 27, 32: what just fits passes, one byte more does not, whole or byte by byte."""
    data = before + padded(line[0], line[1], line[2] + over) + after
    same(data, [])
    _, written = conversation([data], **LIMITS)
    assert written.startswith(b"HTTP/1.1 %d " % (status or 400) if over else b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("framing", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
def test_every_cut_in_two_of_a_request(framing: bytes) -> None:
    """http.md 32: no place is special."""
    body = b"0123456789" if b"10" in framing else b"4;x=y\r\n0123\r\n6\r\n456789\r\n0\r\nA: b\r\n\r\n"
    data = b"\r\n" + head(framing, line=b"POST /a?b HTTP/1.1") + body + head()
    whole, written = conversation([data])
    assert written.count(b"200 OK") == 2
    for cut in range(len(data) + 1):
        split, split_written = conversation([data[:cut], data[cut:]])
        assert list(story(split)) == list(story(whole)), cut
        assert split_written == written, cut
