"""What the kernel says of an answer on its way."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys

import pytest

from arbiter.workers.unsent import queued
from tests.processes.server import until
from tests.ready import ready

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


def fill(sock: socket.socket) -> int:
    """Send until the socket takes no more; how many bytes it took."""
    sock.setblocking(False)
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += sock.send(bytes(65536))
    return total


@linux
def test_what_a_peer_takes_shows_though_there_is_no_room_yet() -> None:
    """tcp(7): a socket is writable when a third of its buffer is free."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client.connect(listener.getsockname())
        ours, _ = listener.accept()
        with ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            sent = fill(ours)
            until(lambda: queued(ours.fileno()) < sent, "what the peer's own buffer takes")
            fill(ours)
            before = queued(ours.fileno())
            client.settimeout(20)
            got = 0
            while got < 100_000:
                got += len(client.recv(65536))
            until(lambda: queued(ours.fileno()) < before, "the acknowledgement")
            assert not ready([ours], 0, select.POLLOUT)


@linux
def test_a_unix_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert queued(ours.fileno()) == 0
        sent = fill(ours)
        assert queued(ours.fileno()) >= sent
        while sent:
            sent -= len(theirs.recv(65536))
        assert queued(ours.fileno()) == 0


def test_what_is_no_socket_has_nothing_queued() -> None:
    read, write = os.pipe()
    os.close(write)
    os.close(read)
    assert queued(read) == 0
