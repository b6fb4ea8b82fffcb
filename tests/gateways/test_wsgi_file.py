"""wsgi.file_wrapper: what goes out of a file, and what becomes of it (tests of `gateways.wsgi`)."""

from __future__ import annotations

import io

from arbiter.gateways.wsgi import FileWrapper
from tests.fakes.wsgi_wire import OnDisk, answering, reasons, run


def test_file_wrapper_hands_a_file_to_the_channel() -> None:
    """wsgi.md 46: from its current offset, with its length, closed once."""
    file = OnDisk(b"0123456789", offset=4)
    call, wire = run(answering(FileWrapper(file)))
    assert wire.files == 1
    assert wire.body == b"456789"
    assert b"content-length: 6" in wire.head
    assert file.closed == 1
    assert call.sent == 6


def test_file_wrapper_stops_at_content_length() -> None:
    """wsgi.md 46."""
    call, wire = run(answering(FileWrapper(OnDisk(b"0123456789")), headers=[("Content-Length", "4")]))
    assert wire.body == b"0123"
    assert call.aborted == ""
    assert call.http.keep_alive


def test_file_shorter_than_its_content_length_is_500() -> None:
    """wsgi.md 43, 46: it is known before anything is out."""
    call, wire = run(answering(FileWrapper(OnDisk(b"0123")), headers=[("Content-Length", "9")]))
    assert wire.head.startswith(b"HTTP/1.1 500 ")
    assert wire.parts[0].closed
    assert "5 bytes shorter" in reasons(call)[0]


def test_file_wrapper_falls_back_on_what_can_be_read() -> None:
    """wsgi.md 46: a file-like without a file."""
    file = io.BytesIO(b"x" * 100_000)
    file.seek(10)
    _, wire = run(answering(FileWrapper(file, 65536), headers=[("Content-Length", "99990")]))
    assert wire.body == b"x" * 99_990
    assert wire.files == 0
    assert file.closed


def test_file_wrapper_of_nothing() -> None:
    _, wire = run(answering(FileWrapper(OnDisk(b""))))
    assert b"content-length: 0" in wire.head
    assert wire.body == b""


def test_close_of_a_file_is_looked_up_late() -> None:
    """wsgi.md 46: Django replaces close() on the file after it has wrapped it."""
    file = OnDisk(b"x")
    wrapper = FileWrapper(file)
    called = []
    file.close = lambda: called.append("response.close")  # type: ignore[method-assign]
    run(answering(wrapper))
    assert called == ["response.close"]
    FileWrapper(object()).close()  # no close(): nothing to do
