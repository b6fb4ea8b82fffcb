"""Orders to a mold: whole, in order, each with its own descriptors."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from arbiter.link.messages import ReopenLogs, Spawn
from arbiter.link.orders import MAX_FDS, Taker, give


def files(count: int) -> list[int]:
    """Descriptors that can be told apart: pipes with a number in each."""
    ends = []
    for number in range(count):
        read, write = os.pipe()
        os.write(write, bytes([number]))
        os.close(write)
        ends.append(read)
    return ends


def test_each_order_has_its_descriptors_and_they_are_closed_by_an_exec() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    taker = Taker(theirs)
    fds = files(5)
    give(ours, Spawn(1, 1, 0, ["http://a"]), fds[:2])
    give(ours, ReopenLogs())
    give(ours, Spawn(2, 7, 3, []), fds[2:])
    got = [order for _ in range(3) for order in taker.take(1)]
    messages = [order[0] for order in got]
    passed = [order[1] for order in got]
    assert messages == [Spawn(1, 1, 0, ["http://a"]), ReopenLogs(), Spawn(2, 7, 3, [])]
    assert [[os.read(fd, 1)[0] for fd in group] for group in passed] == [[0, 1], [], [2, 3, 4]]
    assert not any(os.get_inheritable(fd) for group in passed for fd in group)
    ours.close()
    assert taker.take(1) == [], "the arbiter is gone"
    theirs.close()
    for fd in [*fds, *(fd for group in passed for fd in group)]:
        os.close(fd)


def test_what_has_come_is_taken_together() -> None:
    """As many as are wanted, without waiting for more, and before it is told that the arbiter is gone."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    taker = Taker(theirs)
    fds = files(6)
    for key in range(5):
        give(ours, Spawn(key, key, key, []), fds[key : key + 1])
    first = taker.take(3)
    rest = taker.take(3)
    give(ours, ReopenLogs())
    ours.send(b"\0\0")  # the beginning of an order that never comes
    ours.close()
    last = taker.take(3)
    assert [message for message, _ in [*first, *rest]] == [Spawn(key, key, key, []) for key in range(5)]
    assert (len(first), len(rest), last) == (3, 2, [(ReopenLogs(), [])])
    passed = [fd for _, group in [*first, *rest] for fd in group]
    assert [os.read(fd, 1)[0] for fd in passed] == [0, 1, 2, 3, 4]
    assert taker.take(3) == []
    theirs.close()
    for fd in [*fds, *passed]:
        os.close(fd)


def test_giving_never_blocks() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    count = 0
    with contextlib.suppress(OSError):
        for count in range(100_000):  # noqa: B007 - how far it came
            give(ours, ReopenLogs())
    assert 100 < count < 99_999
    ours.close()
    theirs.close()


def test_too_many_descriptors_are_refused() -> None:
    ours, theirs = socket.socketpair()
    with pytest.raises(ValueError, match="descriptors"):
        give(ours, ReopenLogs(), range(MAX_FDS + 1))
    ours.close()
    theirs.close()
