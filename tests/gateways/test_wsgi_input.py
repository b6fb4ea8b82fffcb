"""Request bodies: collected in memory or a file, or fetched while the application reads."""

from __future__ import annotations

import io
import tempfile
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.errors import PeerGone
from arbiter.gateways.wsgi_input import Body, BodyBroken, pulled_input


class Files:
    """Makes temporary files and remembers them."""

    def __init__(self) -> None:
        self.made: list[IO[bytes]] = []

    def __call__(self) -> IO[bytes]:
        self.made.append(tempfile.TemporaryFile())  # noqa: SIM115
        return self.made[-1]


def collected(*parts: bytes, spool: int = 1 << 20) -> Any:
    body = Body(spool, tempfile.TemporaryFile)
    for part in parts:
        body.add(part)
    return body.open()


def pulled(*parts: bytes) -> Any:
    left = list(parts)
    return pulled_input(lambda: left.pop(0) if left else b"")


KINDS = {
    "memory": collected,
    "file": lambda *parts: collected(*parts, spool=0),
    "pulled": pulled,
}


@pytest.fixture(params=list(KINDS))
def made(request: pytest.FixtureRequest) -> Any:
    """Makes a wsgi.input of each kind; closes them."""
    streams: list[Any] = []

    def make(*parts: bytes) -> Any:
        streams.append(KINDS[request.param](*parts))
        return streams[-1]

    yield make
    for stream in streams:
        stream.close()


def test_read_without_size_stops_at_the_end(made: Any) -> None:
    """wsgi.md 19."""
    stream = made(b"abc", b"def")
    assert stream.read() == b"abcdef"
    assert stream.read() == b""


def test_read_with_sizes(made: Any) -> None:
    """wsgi.md 20: -1, None, n, past the end."""
    assert made(b"abc", b"def").read(-1) == b"abcdef"
    assert made(b"abc", b"def").read(None) == b"abcdef"
    stream = made(b"abc", b"def")
    assert stream.read(4) == b"abcd"
    assert stream.read(0) == b""
    assert stream.read(100) == b"ef"
    assert stream.read(1) == b""
    assert stream.read(-1) == b""


def test_lines_keep_their_ends_and_blank_lines(made: Any) -> None:
    """wsgi.md 21: readline, readline(n), iteration."""
    parts = (b"one\n", b"\ntw", b"o\n\r\nlast")
    stream = made(*parts)
    assert [stream.readline() for _ in range(6)] == [b"one\n", b"\n", b"two\n", b"\r\n", b"last", b""]
    assert list(made(*parts)) == [b"one\n", b"\n", b"two\n", b"\r\n", b"last"]
    stream = made(*parts)
    assert stream.readline(2) == b"on"
    assert stream.readline(100) == b"e\n"


def test_readlines(made: Any) -> None:
    """wsgi.md 22: with and without a hint."""
    parts = (b"one\ntwo\n", b"three\n")
    assert made(*parts).readlines() == [b"one\n", b"two\n", b"three\n"]
    assert made(*parts).readlines(5) == [b"one\n", b"two\n"]


def test_read_after_read_and_readline_returns_the_rest(made: Any) -> None:
    """wsgi.md 23."""
    stream = made(b"one\ntwo\n", b"three")
    assert stream.read(2) == b"on"
    assert stream.readline() == b"e\n"
    assert stream.read() == b"two\nthree"


def test_empty_body(made: Any) -> None:
    stream = made()
    assert stream.read() == b""
    assert stream.readline() == b""
    assert list(stream) == []


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(0, 60)))
def test_every_way_of_reading_gives_the_same(parts: list[bytes], sizes: list[int]) -> None:
    """wsgi.md 20-23: whatever the parts and the order of calls."""
    reference = io.BytesIO(b"".join(parts))
    for make in KINDS.values():
        reference.seek(0)
        with make(*parts) as stream:
            for size in sizes:
                call = "readline" if size % 2 else "read"
                assert getattr(stream, call)(size) == getattr(reference, call)(size)
            assert stream.read() == reference.read()


def test_body_moves_to_a_file_past_its_bound() -> None:
    """wsgi.md 25: memory, then a file."""
    files = Files()
    body = Body(10, files)
    body.add(b"12345")
    body.add(b"67890")
    assert not files.made
    body.add(b"!")
    body.add(b"!")
    assert len(files.made) == 1
    assert body.size == 12
    assert body.open().read() == b"1234567890!!"
    body.close()
    assert files.made[0].closed


def test_body_that_the_disk_refuses() -> None:
    def refuse() -> IO[bytes]:
        raise OSError("no space left")

    body = Body(1, refuse)
    body.add(b"1")
    with pytest.raises(OSError, match="no space"):
        body.add(b"2")
    body.close()


def test_broken_body_raises_and_is_never_an_end() -> None:
    """wsgi.md 26: shorter than Content-Length raises, never a silent end of file."""
    left = [b"abc"]

    def pull() -> bytes:
        if left:
            return left.pop()
        raise BodyBroken("the client ended its request body early")

    stream = pulled_input(pull)
    with pytest.raises(OSError, match="early") as raised:
        stream.read()
    assert isinstance(raised.value, PeerGone)
    with pytest.raises(BodyBroken):
        stream.read(1)


def test_nothing_is_fetched_before_the_first_read() -> None:
    """wsgi.md 27."""
    calls = []
    stream = pulled_input(lambda: calls.append(1) or b"")  # type: ignore[func-returns-value]
    assert not calls
    stream.read(1)
    assert calls
