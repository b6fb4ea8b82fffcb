"""Syslog over every transport: gunicorn's settings, RFC 3164's form, and a daemon that goes away."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from arbiter.errors import FilesError
from arbiter.observe.handlers import SyslogHandler
from arbiter.observe.syslog import FACILITIES, Syslog, split
from tests.fakes.records import record


def test_facilities_are_those_of_syslog() -> None:
    """syslog(3): LOG_USER is 1 << 3, LOG_LOCAL7 23 << 3."""
    assert (FACILITIES["kern"], FACILITIES["user"], FACILITIES["authpriv"]) == (0, 1, 10)
    assert (FACILITIES["local0"], FACILITIES["local7"]) == (16, 23)


@pytest.mark.parametrize(
    ("address", "means"),
    [
        ("udp://localhost:514", (socket.SOCK_DGRAM, "localhost", 514)),
        ("udp://[::1]:515", (socket.SOCK_DGRAM, "::1", 515)),
        ("tcp://logs.example", (socket.SOCK_STREAM, "logs.example", 514)),
        ("unix:///dev/log", (socket.SOCK_DGRAM, "/dev/log", 0)),
        ("unix:/dev/log#dgram", (socket.SOCK_DGRAM, "/dev/log", 0)),
        ("unix:///run/s#stream", (socket.SOCK_STREAM, "/run/s", 0)),
    ],
)
def test_addresses(address: str, means: tuple[int, str, int]) -> None:
    """gunicorn.md 1.1, syslog_addr."""
    assert split(address) == means


@pytest.mark.parametrize(
    "address", ["", "localhost:514", "udp:x", "unix:log", "unix://", "unix:///x#y", "tcp://a:b"]
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError):
        split(address)


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(
        FilesError, match=r"syslog_addr = 'udp://no-such-host\.invalid:1': cannot be resolved"
    ):
        Syslog("udp://no-such-host.invalid:1", "user", "arbiter.error")


@pytest.fixture
def daemon(tmp_path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(str(tmp_path / "log"))
    server.settimeout(20)
    yield server
    server.close()


def test_datagrams(daemon: socket.socket) -> None:
    syslog = Syslog(f"unix://{daemon.getsockname()}", "local3", "arbiter.shop.error")
    handler = SyslogHandler(syslog)
    handler.emit(record("first\nsecond", level=40))
    text = daemon.recv(9999).decode()
    assert text == f"<{19 * 8 + 3}>arbiter.shop.error: [{os.getpid()}] first#012  second"
    syslog.send(b"line one\nline two\n", lambda: False)
    assert daemon.recv(9999).decode().endswith("line one")
    assert daemon.recv(9999).decode().startswith(f"<{19 * 8 + 6}>")
    syslog.close()


def test_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        syslog = Syslog(f"udp://127.0.0.1:{server.getsockname()[1]}", "user", "arbiter.error")
        assert syslog.write(20, "hello")
        assert server.recv(999) == b"<14>arbiter.error: [%d] hello" % os.getpid()
        syslog.close()


def test_a_stream_is_framed_by_line_feeds() -> None:
    """RFC 6587 3.4.2; each process has a connection of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        syslog = Syslog(f"tcp://127.0.0.1:{server.getsockname()[1]}", "user", "arbiter.error")
        first, _ = server.accept()
        assert syslog.write(20, "one")
        assert syslog.write(20, "two\nlines")
        pid = os.fork()
        if pid == 0:
            os._exit(0 if syslog.write(20, "child") else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        second, _ = server.accept()
        syslog.close()
        with first, second:
            assert first.makefile().read().splitlines() == [
                f"<14>arbiter.error: [{os.getpid()}] one",
                f"<14>arbiter.error: [{os.getpid()}] two#012lines",
            ]
            assert second.makefile().read() == f"<14>arbiter.error: [{pid}] child\n"


def test_a_daemon_that_was_restarted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    syslog = Syslog(f"unix://{path}", "user", "arbiter.error")
    handler = SyslogHandler(syslog)
    handler.emit(record("nobody there"))
    handler.emit(record("still nobody"))
    assert syslog.dropped == 2
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(20)
        syslog._next = 0.0  # a second later
        handler.emit(record("back"))
        assert server.recv(999).endswith(b"2 records before this one could not be written")
        assert server.recv(999).endswith(b"back")
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(20)
        handler.emit(record("restarted"))
        assert server.recv(999).endswith(b"restarted")
    syslog.close()


def test_a_daemon_that_does_not_read(daemon: socket.socket) -> None:
    """A full socket costs records, not time."""
    syslog = Syslog(f"unix://{daemon.getsockname()}", "user", "arbiter.error")
    done = threading.Event()

    def flood() -> None:
        for _ in range(5000):
            syslog.write(20, "x" * 500)
        done.set()

    threading.Thread(target=flood, daemon=True).start()
    assert done.wait(20)
    assert syslog.dropped > 0
    syslog.close()
