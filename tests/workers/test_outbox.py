"""What a socket did not take at once: order, bounds, files."""

from __future__ import annotations

import gzip
import io
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbiter.workers import outbox
from arbiter.workers.outbox import MEMORY, FilePart, Outbox, part_of


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def drain(box: Outbox, ours: socket.socket, theirs: socket.socket) -> bytes:
    """Flush and read by turns until all has come."""
    got = b""
    while True:
        box.flush(ours)
        while True:
            try:
                data = theirs.recv(1 << 20)
            except BlockingIOError:
                break
            got += data
        if not box:
            return got


def pattern(size: int) -> bytes:
    return bytes(i * 7 & 255 for i in range(1000)) * (size // 1000 + 1)


def test_order_is_kept_through_memory_spool_and_files(ends: tuple[socket.socket, socket.socket]) -> None:
    box = Outbox()
    wanted = b""
    for size in (10, MEMORY // 2, 5, MEMORY, 3, 2 * MEMORY, 1):
        data = pattern(size)[:size]
        box.add(data)
        wanted += data
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789" * 1000)
        file.flush()
        box.add_file(FilePart(os.dup(file.fileno()), 5, 9000))
        wanted += (b"0123456789" * 1000)[5:9005]
    box.add(b"the end")
    assert drain(box, *ends) == wanted + b"the end"
    assert box.memory == 0


def test_memory_is_bounded() -> None:
    box = Outbox()
    for _ in range(64):
        box.add(b"x" * 65536)
        assert box.memory <= MEMORY
        assert not box.full
    box.close()
    assert not box


def test_small_chunks_share_their_memory() -> None:
    box = Outbox()
    for _ in range(5000):
        box.add(b"x")
    assert len(box._parts) == 1
    assert box.memory == 5000


def test_growing_while_it_is_being_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    box = Outbox()
    wanted = got = b""
    for turn in range(40):
        data = bytes([turn]) * 30_000
        box.add(data)
        wanted += data
        box.flush(ours, rounds=1)
        got += theirs.recv(10_000)
    assert got + drain(box, ours, theirs) == wanted


def test_full_when_neither_memory_nor_disk_takes_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "SPOOL", 100_000)
    box = Outbox()
    box.add(b"x" * (MEMORY - 1))
    box.add(b"x" * 100_000)
    assert not box.full
    box.add(b"x" * 10)
    assert box.full
    box.close()


def test_no_place_for_temporary_files(tmp_path: Path, ends: tuple[socket.socket, socket.socket]) -> None:
    box = Outbox(str(tmp_path / "missing"))
    box.add(b"x" * (MEMORY - 1))
    assert not box.full
    box.add(b"yy")
    assert box.full
    assert drain(box, *ends) == b"x" * (MEMORY - 1) + b"yy"


def test_temporary_files_are_gone_with_the_outbox(tmp_path: Path) -> None:
    """http.md 37: nothing is left of a connection that ended."""
    before = len(os.listdir("/dev/fd"))
    box = Outbox(str(tmp_path))
    box.add(b"x" * (2 * MEMORY))
    assert os.listdir(tmp_path) == []  # unlinked from the start
    assert len(os.listdir("/dev/fd")) > before
    box.close()
    assert len(os.listdir("/dev/fd")) == before


def test_broken_connection_raises(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.close()
    box = Outbox()
    box.add(b"x")
    with pytest.raises(OSError):
        box.flush(ours)


@pytest.mark.parametrize("direct", [True, False])
def test_file_that_became_shorter(ends: tuple[socket.socket, socket.socket], direct: bool) -> None:
    """wsgi.md 43: a break, not a wait for bytes that will not come."""
    ours, _ = ends
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        box = Outbox()
        box.add_file(FilePart(os.dup(file.fileno()), 0, 20, direct))
        with pytest.raises(EOFError):
            box.flush(ours)
        box.close()


def test_one_fast_reader_does_not_hold_the_loop(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _theirs = ends
    box = Outbox()
    for _ in range(10):
        box.add(b"x")
        box.add_file(FilePart(os.open("/dev/zero", os.O_RDONLY), 0, 0))
    box.flush(ours, rounds=3)
    assert box
    box.close()


class TestPartOf:
    """wsgi.md 46: which files go by sendfile, and which of their bytes."""

    def test_from_the_current_offset(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"0123456789")
        with path.open("rb") as file:
            file.read(3)  # the buffered reader is at 10 by now, the file's user at 3
            part = part_of(file)
        assert part is not None
        assert (part.offset, part.left) == (3, 7)
        assert os.pread(part.fd, 10, 0) == b"0123456789"  # its own descriptor: the other one is closed
        part.close()
        part.close()

    def test_files_of_the_standard_library(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"0123456789")
        with (
            path.open("rb", buffering=0) as raw,
            path.open("r+b") as both,
            tempfile.NamedTemporaryFile() as named,
            tempfile.TemporaryFile() as temporary,
        ):
            named.write(b"abc")
            temporary.write(b"abc")
            named.seek(0)
            temporary.seek(1)
            sizes = []
            for file in (raw, both, named, temporary):
                part = part_of(file)
                assert part is not None
                sizes.append(part.left)
                part.close()
        assert sizes == [10, 10, 3, 2]

    def test_what_only_looks_like_a_file(self, tmp_path: Path) -> None:
        """A gzip file's descriptor leads to other bytes than its read()."""
        path = tmp_path / "f.gz"
        with gzip.open(path, "wb") as packed:
            packed.write(b"x" * 100)
        with gzip.open(path, "rb") as packed, io.BufferedReader(packed) as buffered:  # type: ignore[arg-type]
            assert part_of(packed) is None
            assert part_of(buffered) is None
        with path.open("r") as text:
            assert part_of(text) is None

        class Custom:
            def fileno(self) -> int:
                return 0

            def read(self, size: int) -> bytes:
                return b""

        assert part_of(Custom()) is None
        assert part_of(io.BytesIO(b"x")) is None

    def test_pipes_and_closed_files(self, tmp_path: Path) -> None:
        receiver, sender = os.pipe()
        with os.fdopen(receiver, "rb") as pipe, os.fdopen(sender, "wb"):
            assert part_of(pipe) is None
        assert part_of(pipe) is None
