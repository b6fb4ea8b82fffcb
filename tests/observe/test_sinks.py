"""Files, pipes and sockets as logs: nothing waits, nothing raises, nothing is lost without being counted."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbiter.errors import FilesError
from arbiter.observe.sinks import Sink, Unsent


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            pass


def drain(read: int) -> bytes:
    os.set_blocking(read, False)
    data = b""
    try:
        while part := os.read(read, 65536):
            data += part
    except BlockingIOError:
        pass
    return data


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = Sink(str(path), 2, "errorlog")
    assert sink.write("one\n")
    assert sink.write("zwei ü \ud800\n")
    assert path.read_text() == "one\nzwei ü \\ud800\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    assert not os.get_inheritable(sink.fileno())
    sink.close()


def test_a_file_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match=r"errorlog = '.*/none/log': the log cannot be opened: No such"):
        Sink(str(tmp_path / "none" / "log"), 2, "errorlog")


def test_reopen_follows_a_rotation_with_the_same_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = Sink(str(path), 2, "errorlog")
    fd = sink.fileno()
    sink.write("before\n")
    path.rename(tmp_path / "log.1")
    sink.write("between\n")
    sink.reopen()
    sink.write("after\n")
    assert (tmp_path / "log.1").read_text() == "before\nbetween\n"
    assert path.read_text() == "after\n"
    assert sink.fileno() == fd
    assert not os.get_inheritable(fd)
    sink.close()


def test_a_reopen_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    sink = Sink(str(folder / "log"), 2, "errorlog")
    folder.rename(tmp_path / "moved")
    with pytest.raises(FilesError):
        sink.reopen()
    assert sink.write("still here\n")
    assert (tmp_path / "moved" / "log").read_text() == "still here\n"
    sink.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays_the_owner(tmp_path: Path) -> None:
    """gunicorn #1116: after a rotation the workers' user must still be able to open the file."""
    path = tmp_path / "log"
    sink = Sink(str(path), 2, "errorlog")
    sink.give_to(12345, 23456)
    path.unlink()
    sink.reopen()
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)
    sink.close()


@pytest.mark.parametrize("name", ["-", "/dev/stderr"])
def test_a_pipe_that_nobody_reads(pipe: tuple[int, int], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer does not wait, and other users of the pipe keep a blocking one."""
    read, write = pipe
    monkeypatch.setattr("arbiter.observe.sinks.STANDARD", {"/dev/stderr": write})
    sink = Sink(name, write, "errorlog")
    written = 0
    while sink.write("x" * 999 + "\n"):
        written += 1
    assert written >= 16
    assert sink.dropped == 1
    assert not sink.write("y" * 999 + "\n")
    assert sink.dropped == 2
    assert os.get_blocking(write)
    assert drain(read).count(b"\n") == written
    assert sink.write("z\n")
    assert sink.dropped == 0
    assert drain(read).endswith(b"z\n")
    sink.close()


def test_a_record_cut_in_the_middle_is_completed(pipe: tuple[int, int]) -> None:
    read, write = pipe
    sink = Sink("-", write, "errorlog")
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 8192)
    assert sink.write("a" * 20_000 + "\n")
    assert not sink.write("lost\n")
    got = drain(read)
    while sink.write("b\n") is False:
        got += drain(read)
    sink.write("c\n")
    got += drain(read)
    while not got.endswith(b"c\n"):
        assert sink.write("c\n")
        got += drain(read)
    lines = got.split(b"\n")
    assert lines[0] == b"a" * 20_000
    assert set(lines[1:]) <= {b"b", b"c", b""}
    sink.close()


def test_a_pipe_whose_reader_is_gone(pipe: tuple[int, int]) -> None:
    read, write = pipe
    sink = Sink("-", write, "errorlog")
    os.close(read)
    assert not sink.write("x\n")
    assert sink.dropped == 1
    sink.close()


def test_a_pipe_without_a_description_of_our_own(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without /proc, and for another user's pipe: poll says whether there is room."""
    read, write = pipe
    monkeypatch.setattr("arbiter.observe.sinks._own", os.dup)
    sink = Sink("-", write, "errorlog")
    assert os.get_blocking(sink.fileno())
    while sink.write("x" * 999 + "\n"):
        pass
    drain(read)
    assert sink.write("z\n")
    sink.close()


def test_a_socket() -> None:
    """systemd connects standard error with the journal by a stream socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sink = Sink("-", ours.fileno(), "errorlog")
        assert sink.write("hello\n")
        assert theirs.recv(100) == b"hello\n"
        while sink.write("x" * 9999 + "\n"):
            pass
        assert ours.getblocking()
        sink.close()


def test_a_full_disk() -> None:
    """gunicorn.md 2.10: it costs records, nothing else."""
    sink = Sink("/dev/full", 2, "errorlog")
    assert not sink.write("x\n")
    assert not sink.write("y\n")
    assert sink.dropped == 2
    with pytest.raises(Unsent, match="No space left") as caught:
        sink.send(b"a\nb\n", lambda: False)
    assert caught.value.rest == b"a\nb\n"
    sink.close()


def test_a_thread_waits_for_a_reader_but_not_for_ever(pipe: tuple[int, int]) -> None:
    read, write = pipe
    sink = Sink("-", write, "accesslog")
    data = b"x" * 99 + b"\n"
    with pytest.raises(Unsent, match="does not keep up") as caught:
        sink.send(data * 10_000, lambda: True)
    assert drain(read) + caught.value.rest == data * 10_000
    sink.close()


def test_a_daemon_leaves_its_terminal(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "terminal", os.O_CREAT | os.O_RDWR)
    sink = Sink("-", fd, "errorlog")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd)
    sink.reattach()
    assert sink.write("nobody sees it\n")
    assert (tmp_path / "terminal").read_text() == ""
    sink.close()
    os.close(fd)
    os.close(null)
