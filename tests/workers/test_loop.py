"""Both pollers by the same tests: epoll where there is one, and what stands in for it."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from arbiter.workers import loop
from arbiter.workers.loop import ONESHOT, READ, WRITE, PollSet, Waker, new_poller


@pytest.fixture(params=["epoll", "poll"])
def poller(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "epoll" and not hasattr(select, "epoll"):
        pytest.skip("no epoll on this system")
    made = select.epoll() if request.param == "epoll" else PollSet()
    yield made
    made.close()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


Ends = tuple[socket.socket, socket.socket]


def test_level_triggered(poller: Any, ends: Ends) -> None:
    ours, theirs = ends
    poller.register(ours.fileno(), READ)
    assert poller.poll(0) == []
    theirs.send(b"x")
    for _ in range(2):
        assert [(fd, mask & READ) for fd, mask in poller.poll(5)] == [(ours.fileno(), READ)]
    poller.modify(ours.fileno(), WRITE)
    assert [(fd, mask & WRITE) for fd, mask in poller.poll(5)] == [(ours.fileno(), WRITE)]
    poller.unregister(ours.fileno())
    assert poller.poll(0) == []


def test_oneshot(poller: Any, ends: Ends) -> None:
    ours, theirs = ends
    poller.register(ours.fileno(), READ | ONESHOT)
    theirs.send(b"x")
    assert len(poller.poll(5)) == 1
    assert poller.poll(0) == []
    poller.modify(ours.fileno(), READ | ONESHOT)
    assert len(poller.poll(5)) == 1
    assert poller.poll(0) == []


def test_most_events(poller: Any) -> None:
    pairs = [socket.socketpair() for _ in range(4)]
    for ours, theirs in pairs:
        poller.register(ours.fileno(), READ | ONESHOT)
        theirs.send(b"x")
    first = poller.poll(5, 3)
    assert len(first) == 3
    second = poller.poll(5, 3)
    assert len({fd for fd, _ in [*first, *second]}) == 4
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_change_from_another_thread_ends_the_sleep(poller: Any, ends: Ends) -> None:
    ours, theirs = ends
    poller.register(ours.fileno(), READ | ONESHOT)
    theirs.send(b"x")
    assert len(poller.poll(5)) == 1
    timer = threading.Timer(0.05, poller.modify, (ours.fileno(), READ | ONESHOT))
    timer.start()
    events: list[tuple[int, int]] = []
    for _ in range(100):
        events = poller.poll(20)
        if events:
            break
    assert [fd for fd, _ in events] == [ours.fileno()]
    timer.join()


def test_closed_descriptor_is_forgotten(poller: Any) -> None:
    ours, theirs = socket.socketpair()
    poller.register(ours.fileno(), READ)
    ours.close()
    theirs.close()
    assert poller.poll(0) == []
    assert poller.poll(0) == []


def test_waker(poller: Any) -> None:
    waker = Waker()
    poller.register(waker.fileno(), READ)
    assert poller.poll(0) == []
    for _ in range(100_000):
        waker.wake()  # never blocks, however full
    assert [fd for fd, _ in poller.poll(5)] == [waker.fileno()]
    waker.clear()
    assert poller.poll(0) == []
    poller.unregister(waker.fileno())
    waker.close()
    waker.wake()
    waker.clear()


def test_new_poller_is_the_best_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    made = new_poller()
    if hasattr(select, "epoll"):
        assert isinstance(made, select.epoll)
        assert not os.get_inheritable(made.fileno())
        monkeypatch.delattr(loop.select, "epoll")
    made.close()
    stand_in = new_poller()
    assert isinstance(stand_in, PollSet)
    stand_in.close()
