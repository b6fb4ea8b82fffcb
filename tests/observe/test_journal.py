"""systemd's journal: its native protocol, spoken to a socket of our own."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbiter.observe.handlers import JournalHandler
from arbiter.observe.journal import Journal, leads_to_journal
from tests.fakes.records import record


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(str(tmp_path / "socket"))
    server.settimeout(20)
    yield server
    server.close()


def parse(data: bytes) -> dict[str, str]:
    """As journald: KEY=value, or KEY, length and value."""
    found = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + length], rest[8 + length + 1 :]
        found[name.decode()] = value.decode()
        data = rest
    return found


def receive(server: socket.socket) -> dict[str, str]:
    data, fds, _, _ = socket.recv_fds(server, 1 << 20, 1)
    if fds:
        data = os.pread(fds[0], 1 << 24, 0)
        with pytest.raises(OSError):
            os.write(fds[0], b"sealed")
        os.close(fds[0])
    return parse(data)


def test_native_fields(journald: socket.socket) -> None:
    journal = Journal(journald.getsockname())
    fields = {"worker": 3, "reason": "two\nlines"}
    JournalHandler(journal).emit(record("it died", level=40, event="worker.died", fields=fields))
    assert receive(journald) == {
        "MESSAGE": "it died",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "arbiter",
        "ARBITER_EVENT": "worker.died",
        "ARBITER_PROCESS": "worker 3 (gen 2, pid 41)",
        "ARBITER_WORKER": "3",
        "ARBITER_REASON": "two\nlines",
    }
    journal.close()


def test_a_traceback_is_part_of_the_message(journald: socket.socket) -> None:
    journal = Journal(journald.getsockname())
    try:
        raise ValueError("boom")
    except ValueError:
        JournalHandler(journal).emit(record("it failed", failed=True))
    message = receive(journald)["MESSAGE"]
    assert message.startswith("it failed\nTraceback")
    assert message.endswith("ValueError: boom")
    journal.close()


def test_an_entry_too_long_for_a_datagram(journald: socket.socket) -> None:
    """Native Journal Protocol: in a sealed memfd."""
    journal = Journal(journald.getsockname())
    text = "x" * 3_000_000
    JournalHandler(journal).emit(record(text))
    assert journal.dropped == 0
    assert receive(journald)["MESSAGE"] == text
    journal.close()


def test_a_journal_that_is_gone_is_counted(journald: socket.socket) -> None:
    journal = Journal(journald.getsockname())
    journald.close()
    JournalHandler(journal).emit(record("x"))
    assert journal.dropped == 1
    journal.close()


def test_no_journal(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Journal(str(tmp_path / "none"))


def test_journal_stream() -> None:
    """systemd.exec(5): device and inode of standard error."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        status = os.fstat(ours.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert leads_to_journal(ours.fileno(), environ)
        assert not leads_to_journal(theirs.fileno(), environ)
        assert not leads_to_journal(ours.fileno(), {})
        assert not leads_to_journal(ours.fileno(), {"JOURNAL_STREAM": "nonsense"})
