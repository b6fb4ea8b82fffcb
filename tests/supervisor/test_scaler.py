"""What the scaler sees in rows and queues, and when it looks."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arbiter.config.address import Address
from arbiter.link.scoreboard import Word
from arbiter.supervisor import events as ev
from arbiter.supervisor.autoscale import Room
from arbiter.supervisor.book import FOREVER, Phase
from arbiter.supervisor.guards import Guards, Use
from arbiter.supervisor.listeners import Listener
from arbiter.supervisor.queues import Queue
from arbiter.supervisor.scaler import FIRST, IDLE, INTERVAL, QUIET, Scaler
from arbiter.supervisor.states import State
from tests.fakes.views import Arbiter


class FakeWatch:
    """Remembers who is watched."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], Iterable[ev.Event]]] = {}

    def add_reader(self, fd: int, take: Callable[[], Iterable[ev.Event]]) -> None:
        self.readers[fd] = take

    def remove_reader(self, fd: int) -> None:
        del self.readers[fd]


class FakeGuards(Guards):
    """Have room for everybody, and remember what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, Use]] = []
        self.pressure = 0.0

    def room(self, wanted: int, have: int, pids: Iterable[int], use: Use) -> Room:
        assert list(pids)
        self.asked.append((wanted, have, use))
        return Room(wanted)

    def pressure_total(self) -> float | None:
        return self.pressure


class Bench:
    """Two workers that do as they are told, one listener, and a clock."""

    def __init__(self, directory: Path, listener: socket.socket, **settings: Any) -> None:
        given = {"workers_max": "8", **settings}
        self.arbiter = Arbiter(directory, 2, **given)
        self.book = self.arbiter.book
        self.book.rules = replace(self.book.rules, least=1, most=8)
        self.arbiter.listeners.append(Listener(Address("tcp", "127.0.0.1"), listener))
        self.cpu = 0.0
        self.arbiter.view.glance = lambda pid: ("S", self.cpu)
        self.queue: Queue | None = Queue(0, 100)
        self.watch = FakeWatch()
        self.guards = FakeGuards()
        self.scaler = Scaler(self.arbiter.view, self.watch, self.guards, lambda sock: self.queue)  # type: ignore[arg-type]
        self.now = 1000.0
        for key in self.arbiter.rows:
            self.arbiter.board.row(key).words[Word.STARTED_NS] = int(900e9)

    def row(self, key: int = 1) -> Any:
        return self.arbiter.board.row(key)

    def look(self, after: float = 0.0) -> list[ev.Event]:
        """What it wants is done at once."""
        self.now += after
        events = self.scaler.look(self.now)
        for event in events:
            assert isinstance(event, ev.Needed)
            self.book.slots = set(range(1, event.workers + 1))
        return events

    def looks(self, count: int, after: float = INTERVAL) -> list[ev.Event]:
        return [event for _ in range(count) for event in self.look(after)]

    def begin(self, key: int = 1) -> int:
        return int(self.row(key).begin("GET", b"/", int(self.now * 1e9)))

    def end(self, lane: int, took: float, key: int = 1) -> None:
        now = int(self.now * 1e9)
        self.row(key).end(200, now - int(took * 1e9), now, 0, lane)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, listener: socket.socket) -> Bench:
    return Bench(tmp_path, listener)


def test_who_is_not_to_follow_the_load_is_never_woken(bench: Bench) -> None:
    for changes in ({"most": 0}, {}):
        bench.book.rules = replace(bench.book.rules, **changes)
        bench.book.pinned = not changes
        assert bench.look(5.0) == []
        assert bench.scaler.due == FOREVER
        bench.scaler.arm()
        assert not bench.watch.readers
        bench.book.rules = replace(bench.book.rules, most=8)
    bench.book.pinned, bench.book.phase = False, Phase.STOPPING
    assert bench.scaler.due == FOREVER


def test_it_begins_when_an_operator_lets_go(bench: Bench) -> None:
    bench.book.pinned = True
    bench.look()
    bench.book.pinned = False
    assert bench.scaler.due == 0.0
    bench.look(1.0)
    assert bench.scaler.due > bench.now
    bench.book.pinned = True
    assert bench.scaler.due == 0.0, "it has to end what it began"
    bench.look()
    assert bench.scaler.due == FOREVER
    assert bench.arbiter.view.needed == 0


def test_requests_in_work_are_counted_over_time(bench: Bench) -> None:
    """Of one worker that works all the time, and one that does half of it in short requests."""
    bench.look()
    long = bench.begin(1)
    events = []
    for _ in range(4):
        lane = bench.begin(2)
        bench.now += INTERVAL / 2
        bench.end(lane, INTERVAL / 2, 2)
        events += bench.look(INTERVAL / 2)
    (event,) = events
    assert isinstance(event, ev.Needed)
    assert event.workers == 3
    assert event.why == "load 1.5, 0 queued: 3 needed"
    assert event.loads == {1: 1, 2: 0}
    assert bench.arbiter.view.needed == 3
    bench.end(long, 2.0, 1)


def test_a_request_that_ends_amid_a_look_makes_no_difference(bench: Bench) -> None:
    bench.look()
    lane = bench.begin()
    bench.look(INTERVAL)
    row = bench.row()
    bench.now += INTERVAL
    row.words[Word.DURATION_NS] += int(90e9)  # as if it had lasted long before anybody looked
    assert bench.look() == []
    row.words[Word.DURATION_NS] -= int(90e9)
    assert bench.look(INTERVAL) == []
    bench.end(lane, 1.0)


def test_what_waits_counts_by_the_time_that_requests_take(bench: Bench) -> None:
    bench.look()
    for _ in range(4):
        bench.end(bench.begin(), 0.1)
        bench.look(INTERVAL)
    bench.queue = Queue(10, 100)
    (event,) = bench.look(INTERVAL)
    assert isinstance(event, ev.Needed)
    assert event.workers == 7, "0.2 busy; each that waits takes 0.1 s of a quarter"
    assert "10 queued" in event.why


def test_guards_are_told_what_is_used(bench: Bench) -> None:
    bench.look()
    for key in (1, 2):
        bench.begin(key)
    for _ in range(4):
        bench.cpu += 0.25
        bench.guards.pressure += 0.2
        bench.look(INTERVAL)
    wanted, have, use = bench.guards.asked[0]
    assert have == 2
    assert wanted > 0
    assert use.computing == pytest.approx(1.0, rel=0.4)
    assert use.pressure == pytest.approx(0.4, rel=0.4)


@pytest.mark.parametrize("what", ["cpu", "late", "queue", "requests"])
def test_an_event_loop_is_busy_as_far_as_it_computes_or_is_late(bench: Bench, what: str) -> None:
    for child in bench.book.children.values():
        child.kind = "asgi"
    bench.look()
    for key in (1, 2):
        bench.begin(key)
    events: list[ev.Event] = []
    for _ in range(4):
        if what == "cpu":
            bench.cpu += INTERVAL
        bench.queue = Queue(3 if what == "queue" else 0, 100)
        if what == "late":
            for key in (1, 2):
                bench.row(key).words[Word.LOOP_LAG_NS] = 10**9
        events += bench.look(INTERVAL)
    assert [event.workers for event in events] == ([] if what == "requests" else [4])  # type: ignore[union-attr]


def test_threads_are_places(tmp_path: Path, listener: socket.socket) -> None:
    bench = Bench(tmp_path, listener, threads="4")
    for child in bench.book.children.values():
        child.kind = "threaded"
    bench.look()
    for _ in range(3):
        bench.begin(1)
        bench.begin(2)
    assert bench.looks(4) == [ev.Needed(3, "load 1.5, 0 queued: 3 needed", "", {1: 3, 2: 3})]


def test_without_load_only_a_connection_wakes_it(bench: Bench) -> None:
    bench.book.rules = replace(bench.book.rules, least=2)
    bench.look()
    bench.scaler.arm()
    assert not bench.watch.readers, "it has not yet seen that nothing goes on"
    bench.look(INTERVAL)
    assert bench.scaler.due == FOREVER
    bench.scaler.arm()
    (take,) = bench.watch.readers.values()
    assert list(take()) == []
    bench.scaler.disarm()
    assert not bench.watch.readers
    bench.queue = Queue(50, 100)
    assert bench.look(3600.0) == [], "they may be gone in a moment"
    assert bench.scaler.due == bench.now + FIRST
    bench.scaler.arm()
    assert not bench.watch.readers, "it is awake"
    (event,) = bench.look(FIRST)
    assert isinstance(event, ev.Needed)
    assert event.workers == 8


def test_how_often_it_looks(bench: Bench) -> None:
    bench.look()
    bench.begin()
    bench.look(INTERVAL)
    assert bench.scaler.due == bench.now + INTERVAL
    bench.row().connections(1)
    bench.end(0, INTERVAL)
    bench.look(INTERVAL)
    assert bench.scaler.due == bench.now + IDLE
    bench.row().connections(0)
    bench.look(IDLE)
    assert bench.scaler.due == bench.now + QUIET, "one worker more than least is there"
    assert bench.look(QUIET / 2) == []
    bench.queue = None
    bench.look(QUIET / 2)
    assert bench.scaler.due == bench.now + IDLE, "a system that does not tell of queues wakes it"


def test_quiet_takes_workers_away(bench: Bench) -> None:
    bench.look()
    events = bench.looks(20, QUIET)
    assert [event.workers for event in events][:1] == [1]  # type: ignore[union-attr]


def test_workers_that_leave_do_not_count(bench: Bench) -> None:
    bench.look()
    bench.begin(1)
    bench.begin(2)
    for child in bench.book.children.values():
        child.state = State.DRAINING
    assert bench.looks(4) == []
