"""The worker's end of what it prints."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from arbiter.link.channel import Sender, channel
from arbiter.link.messages import Booting
from arbiter.link.output import redirect


def drain(fd: int) -> bytes:
    data = b""
    while part := os.read(fd, 65536):
        data += part
    return data


def test_it_survives_the_process(tmp_path: Path) -> None:
    """Also what the interpreter would have buffered, and what a program it started has written."""
    receiver, theirs = channel()
    taken: list[int] = []
    receiver.take_fds = taken.extend
    pid = os.fork()
    if pid == 0:
        receiver.close()
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 (as in a worker; pytest has put its own there)
        redirect(Sender(theirs))
        print("printed")
        os.system("echo from a program; echo problem >&2")
        os.write(1, b"no newline")
        os._exit(7)
    theirs.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert receiver.receive() == [Booting("output")]
    assert len(taken) == 2
    assert not any(os.get_inheritable(fd) for fd in taken)
    assert [drain(fd) for fd in taken] == [b"printed\nfrom a program\nno newline", b"problem\n"]
    for fd in taken:
        os.close(fd)
    receiver.close()


def test_descriptors_nobody_wants_are_closed() -> None:
    receiver, theirs = channel()
    sender = Sender(theirs)
    read, write = os.pipe()
    before = len(os.listdir("/proc/self/fd"))
    assert sender.send(Booting("x"), [read])
    assert receiver.receive() == [Booting("x")]
    assert len(os.listdir("/proc/self/fd")) == before
    for fd in (read, write):
        os.close(fd)
    sender.close()
    receiver.close()


def test_messages_around_one_with_descriptors_are_whole() -> None:
    receiver, theirs = channel()
    taken: list[int] = []
    receiver.take_fds = taken.extend
    sender = Sender(theirs)
    read, write = os.pipe()
    for step, fds in (("one", []), ("two", [read]), ("three", []), ("four", [write])):
        assert sender.send(Booting(step), fds)
    messages = []
    while len(messages) < 4:
        messages += receiver.receive()
    assert messages == [Booting(step) for step in ("one", "two", "three", "four")]
    assert len(taken) == 2
    for fd in (read, write, *taken):
        os.close(fd)
    sender.close()
    receiver.close()
