"""The accept policy, with a watch that only notes what it is told."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from arbiter.link.relay import Relay
from arbiter.workers.accept import FIRST_PAUSE, LONGEST_PAUSE, ROTATE, Acceptor
from arbiter.workers.gate import LOOK, Turn
from tests.fakes.workers import FakeListener, FakeLog, listen


class Watch:
    """Notes who is watched, and calls later what a test tells it to."""

    def __init__(self) -> None:
        self.watched: set[socket.socket] = set()
        self.events: list[str] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def watch(self, listener: socket.socket) -> None:
        self.watched.add(listener)
        self.events.append("watch")

    def unwatch(self, listener: socket.socket) -> None:
        self.watched.remove(listener)
        self.events.append("unwatch")

    def forget(self, listener: socket.socket) -> None:
        assert listener not in self.watched

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.timers.append((seconds, call))

    def fire(self) -> float:
        [(seconds, call)] = self.timers
        self.timers.clear()
        call()
        return seconds


class Queue(FakeListener):
    """A listener whose connections, and errors, a test puts in."""

    def __init__(self) -> None:
        self.waiting: list[OSError | None] = []
        self.closed = False
        self._reader, self._writer = socket.socketpair()

    def put(self, *entries: OSError | None) -> None:
        """As long as there is anything, the descriptor is readable."""
        if entries and not self.waiting:
            self._writer.send(b"\0")
        self.waiting += entries

    def accept(self) -> tuple[socket.socket, Any]:
        if not self.waiting:
            raise BlockingIOError
        error = self.waiting.pop(0)
        if not self.waiting:
            self._reader.recv(1)
        if error is not None:
            raise error
        return socket.socket(), ("192.0.2.1", 5)

    def fileno(self) -> int:
        return -1 if self.closed else self._reader.fileno()

    def close(self) -> None:
        self.closed = True
        self._reader.close()
        self._writer.close()


class Bench:
    """An acceptor on a queue."""

    def __init__(self, room: int = 1000, few: int = 4, gate: Any = None) -> None:
        self.queue: Any = Queue()
        self.watch = Watch()
        self.log: Any = FakeLog()
        self.taken: list[socket.socket] = []
        self.space = room
        self.go_on = True
        self.acceptor = Acceptor(
            [self.queue],
            self.watch,
            self.adopt,
            lambda: self.space - len(self.taken),
            self.log,
            gate,
            few=few,
        )

    def adopt(self, sock: socket.socket, address: Any, listener: Any) -> bool:
        self.taken.append(sock)
        return self.go_on

    def end(self) -> None:
        for sock in self.taken:
            sock.close()
        self.queue.close()

    def wait(self, *entries: OSError | int) -> None:
        for entry in entries:
            self.queue.put(*([None] * entry if isinstance(entry, int) else [entry]))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.acceptor.start()
    yield made
    made.end()


def test_a_few_per_wake_up(bench: Bench) -> None:
    bench.wait(10)
    bench.acceptor.ready(bench.queue)
    assert len(bench.taken) == 4
    bench.acceptor.ready(bench.queue)
    assert len(bench.taken) == 8


def test_only_as_many_as_the_worker_wants(bench: Bench) -> None:
    bench.go_on = False
    bench.wait(3)
    bench.acceptor.ready(bench.queue)
    assert len(bench.taken) == 1


def test_none_above_the_bound(bench: Bench) -> None:
    """Above it the listener is left to the siblings, until there is room again."""
    bench.space = 2
    bench.wait(5)
    bench.acceptor.ready(bench.queue)
    assert len(bench.taken) == 2
    assert not bench.acceptor.watching
    assert not bench.watch.watched
    bench.acceptor.ready(bench.queue)
    assert len(bench.taken) == 2
    bench.space = 3
    bench.acceptor.resume()
    bench.acceptor.ready(bench.queue)
    assert len(bench.taken) == 3


def test_a_sibling_was_faster(bench: Bench) -> None:
    bench.acceptor.ready(bench.queue)
    assert bench.taken == []
    assert bench.acceptor.watching


def test_a_connection_for_which_nobody_came_is_taken_at_the_next_look(bench: Bench) -> None:
    bench.acceptor.look()
    assert bench.taken == []
    bench.wait(1)
    bench.acceptor.look()
    assert len(bench.taken) == 1
    bench.acceptor.suspend()
    bench.wait(1)
    bench.acceptor.look()
    assert len(bench.taken) == 1


def test_listeners_are_registered_anew_now_and_then(bench: Bench) -> None:
    """spec/supervision.md fact 3: or one worker of eight gets 88 % of the connections."""
    bench.watch.events.clear()
    bench.wait(ROTATE)
    for _ in range(ROTATE):
        bench.acceptor.ready(bench.queue)
    assert bench.watch.events == ["unwatch", "watch"]
    assert len(bench.taken) == ROTATE


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_no_descriptors_left(bench: Bench, number: int) -> None:
    """One record, growing pauses, one record when it is over; connections wait, none is dropped."""
    bench.wait(*[OSError(number, "Too many open files")] * 6)
    bench.acceptor.ready(bench.queue)
    pauses = []
    for _ in range(5):
        assert not bench.watch.watched
        pauses.append(bench.watch.fire())
        assert bench.watch.watched
        bench.acceptor.ready(bench.queue)
    pauses.append(bench.watch.fire())
    assert pauses == [FIRST_PAUSE, 0.2, 0.4, 0.8, LONGEST_PAUSE, LONGEST_PAUSE]
    [text] = bench.log.of("error")
    assert "Too many open files" in text
    assert "LimitNOFILE" in text
    bench.wait(2)
    bench.acceptor.ready(bench.queue)
    assert len(bench.taken) == 2
    assert bench.log.of("warning") == ["accepting connections again"]


def test_nobody_resumes_during_a_pause(bench: Bench) -> None:
    bench.wait(OSError(errno.EMFILE, "x"))
    bench.acceptor.ready(bench.queue)
    bench.acceptor.resume()
    assert not bench.watch.watched
    bench.watch.fire()
    assert bench.watch.watched


def test_end_of_a_pause_without_room_or_listeners(bench: Bench) -> None:
    bench.wait(OSError(errno.EMFILE, "x"))
    bench.acceptor.ready(bench.queue)
    bench.space = 0
    bench.watch.fire()
    assert not bench.watch.watched
    bench.space = 9
    bench.acceptor.resume()
    bench.wait(OSError(errno.EMFILE, "x"))
    bench.acceptor.ready(bench.queue)
    bench.acceptor.close()
    bench.watch.fire()
    assert not bench.watch.watched


def test_connections_that_died_in_the_queue_are_skipped(bench: Bench) -> None:
    """accept(2): ECONNABORTED and its like are about one connection."""
    bench.wait(ConnectionAbortedError(errno.ECONNABORTED, "x"), OSError(errno.EPROTO, "x"), 1)
    bench.acceptor.ready(bench.queue)
    assert len(bench.taken) == 1
    assert not bench.log.records


def test_an_endless_row_of_dead_connections_does_not_hold_the_loop(bench: Bench) -> None:
    bench.wait(*[OSError(errno.EPERM, "x")] * 10_000)
    bench.acceptor.ready(bench.queue)
    assert len(bench.queue.waiting) > 9_000


def test_an_unusable_listener_does_not_spin(bench: Bench) -> None:
    bench.wait(OSError(errno.EINVAL, "Invalid argument"))
    bench.acceptor.ready(bench.queue)
    assert not bench.watch.watched
    assert len(bench.log.of("error")) == 1


def test_drain_empties_the_queue_and_closes(bench: Bench) -> None:
    """http.md 40: what was queued is answered, whatever the usual bounds per wake-up."""
    bench.wait(20)
    bench.go_on = False
    assert bench.acceptor.drain(1000) == 20
    assert bench.queue.closed
    assert bench.acceptor.closed
    assert not bench.watch.watched
    bench.acceptor.resume()
    assert not bench.watch.watched


def test_drain_has_an_end(bench: Bench) -> None:
    bench.wait(20)
    assert bench.acceptor.drain(5) == 5
    assert bench.queue.closed


def test_who_has_not_begun_begins_neither_by_resuming_nor_by_draining() -> None:
    """A worker that still proves itself, and one that is told to stop meanwhile."""
    bench = Bench()
    bench.wait(3)
    bench.acceptor.resume()
    assert not bench.watch.watched
    assert bench.acceptor.drain(5) == 0
    assert bench.queue.closed


def test_start_prepares_the_listeners() -> None:
    """Accepted sockets inherit TCP_NODELAY; nothing reaches a child."""
    listener = listen()
    watch = Watch()
    taken: list[socket.socket] = []

    def adopt(sock: socket.socket, address: Any, listener: socket.socket) -> bool:
        taken.append(sock)
        return True

    log: Any = FakeLog()
    acceptor = Acceptor([listener], watch, adopt, lambda: 1, log)
    acceptor.start()
    assert watch.watched == {listener}
    with socket.create_connection(listener.getsockname()):
        while not taken:
            acceptor.ready(listener)
        [sock] = taken
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not sock.getblocking()
        assert not sock.get_inheritable()
        sock.close()
    acceptor.close()
    assert listener.fileno() == -1


class FakeGate:
    """Says what the test has put in, and remembers what it was told."""

    def __init__(self, *says: Turn, stays: int = 0) -> None:
        self.says = list(says)
        self.stays = stays
        self.told: list[bool] = []
        self.asked: list[bool] = []
        self.relay = Relay()
        self.passed_on = 0

    def pass_on(self) -> None:
        self.passed_on += 1

    def accepting(self, yes: bool) -> None:
        self.told.append(yes)

    def after_accept(self) -> Turn:
        return self.says.pop(0) if self.says else Turn.OWN

    def stay_back(self, waiting: bool) -> bool:
        self.asked.append(waiting)
        self.stays -= 1
        return self.stays >= 0


@contextlib.contextmanager
def gated(*says: Turn, stays: int = 0) -> Iterator[tuple[Bench, FakeGate]]:
    gate: Any = FakeGate(*says, stays=stays)
    bench = Bench(gate=gate)
    bench.acceptor.start()
    yield bench, gate
    bench.end()
    if gate.relay.fd >= 0:
        os.close(gate.relay.fd)


def test_a_worker_steps_back_after_it_has_taken_one_for_as_long_as_the_gate_says() -> None:
    with gated(Turn.OWN, Turn.THEIRS, stays=2) as (bench, gate):
        bench.wait(10)
        bench.acceptor.ready(bench.queue)
        assert len(bench.taken) == 2
        for _ in range(3):
            assert not bench.watch.watched
            bench.acceptor.resume()
            assert not bench.watch.watched, "whoever makes room does not end it"
            assert bench.watch.fire() == LOOK
        assert bench.watch.watched
        assert gate.asked == [True, True, True]
        assert gate.told == [True, True], "the siblings know that it will take more"


def test_nobody_steps_back_from_an_empty_queue() -> None:
    with gated(Turn.THEIRS) as (bench, gate):
        bench.wait(1)
        bench.watch.events.clear()
        bench.acceptor.ready(bench.queue)
        assert bench.watch.events == ["unwatch", "watch"], "but goes to the end of the line"
        assert not bench.watch.timers
        assert gate.asked == []


def test_the_gate_is_told_when_the_queue_is_empty() -> None:
    with gated(Turn.THEIRS, stays=1) as (bench, gate):
        bench.wait(2)
        bench.acceptor.ready(bench.queue)
        bench.watch.fire()
        bench.queue.accept()[0].close()  # a sibling takes it
        bench.watch.fire()
        assert gate.asked == [True, False]


def test_whoever_is_full_when_his_turn_comes_again_leaves_the_queue_to_others() -> None:
    with gated(Turn.THEIRS) as (bench, gate):
        bench.wait(2)
        bench.acceptor.ready(bench.queue)
        bench.space = 0
        bench.watch.fire()
        assert not bench.watch.watched
        assert gate.told == [True, False]
        assert gate.passed_on == 1


def test_whoever_is_told_to_go_having_stepped_back_says_so() -> None:
    with gated(Turn.THEIRS, stays=9) as (bench, gate):
        bench.wait(3)
        bench.acceptor.ready(bench.queue)
        assert bench.acceptor.drain(1) == 1
        assert not gate.told[-1]
        bench.watch.fire()
        assert not bench.watch.watched
        assert not bench.watch.timers
        assert gate.asked == []


def test_the_gate_moves_a_worker_to_the_end_of_the_line() -> None:
    with gated(Turn.LAST, Turn.OWN) as (bench, _):
        bench.wait(2)
        bench.watch.events.clear()
        bench.acceptor.ready(bench.queue)
        assert len(bench.taken) == 2
        assert bench.watch.events == ["unwatch", "watch"]


def test_whoever_is_full_suspends_and_wakes_a_sibling() -> None:
    """The kernel has woken nobody else for what is left in the queue."""
    with gated() as (bench, gate):
        bench.space = 2
        bench.wait(3)
        bench.acceptor.ready(bench.queue)
        assert len(bench.taken) == 2
        assert not bench.watch.watched
        assert gate.passed_on == 1


def test_a_wake_up_that_comes_too_late_is_passed_on() -> None:
    """The loop saw the listener readable, and before its turn the worker was full, or told to go."""
    with gated() as (bench, gate):
        bench.acceptor.suspend()
        bench.wait(1)
        bench.acceptor.ready(bench.queue)
        assert bench.taken == []
        assert gate.passed_on == 1


def test_whoever_has_no_descriptors_left_wakes_a_sibling() -> None:
    with gated() as (bench, gate):
        bench.wait(OSError(errno.EMFILE, "Too many open files"))
        bench.acceptor.ready(bench.queue)
        assert gate.passed_on == 1


def test_whoever_leaves_wakes_a_sibling_once() -> None:
    with gated() as (bench, gate):
        bench.acceptor.close()
        bench.acceptor.close()
        assert gate.passed_on == 1
        assert not bench.watch.watched


def test_whoever_is_woken_by_a_sibling_looks_at_every_listener() -> None:
    with gated() as (bench, gate):
        bench.wait(3)
        bench.acceptor.ready(gate.relay)
        assert len(bench.taken) == 3
        bench.acceptor.ready(gate.relay)
        assert len(bench.taken) == 3
