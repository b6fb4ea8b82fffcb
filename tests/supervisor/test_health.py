"""Who is slow, who is stuck, in which way; and who is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from arbiter.link.scoreboard import Scoreboard, Word
from arbiter.supervisor import events as ev
from arbiter.supervisor.health import SLOWEST, Health, Patience, Watched
from arbiter.supervisor.procfs import Sample

TIMEOUT = Patience(timeout=30.0, slow=0.0)
IDLE = Sample("S", 0.0, 0.0, False)


class Bench:
    """A clock, one worker, and what the kernel says of it."""

    def __init__(self, kind: str = "sync") -> None:
        self.now = 1000.0
        self.row = Scoreboard(1).row(0)
        self.kind = kind
        self.kernel: Iterator[Sample | None] = iter(lambda: IDLE, None)
        self.health = Health(self.now, lambda pid: next(self.kernel))
        self.looks = 0
        self.beat()

    def beat(self) -> None:
        self.row.beat(int(self.now * 1e9))

    def begin(self, target: bytes = b"/slow") -> int:
        return self.row.begin("GET", target, int(self.now * 1e9))

    def look(self, patience: Patience = TIMEOUT) -> list[ev.Event]:
        return self.health.look([Watched(1, 41, self.kind, self.row)], patience, self.now)

    def run(self, seconds: float, patience: Patience = TIMEOUT, *, beats: bool = False) -> list[ev.Event]:
        """Let time pass; the arbiter wakes when it wants to, the worker beats if it does."""
        until, found = self.now + seconds, []
        while self.now < until:
            self.now = min(until, max(self.health.due, self.now))
            if beats:
                self.beat()
            found.extend(self.look(patience))
            self.looks += 1
            assert self.health.due > self.now
            assert self.looks < 1000
        return found


def says(samples: list[Sample | None]) -> Iterator[Sample | None]:
    """The kernel's successive answers; the last one is repeated."""
    yield from samples
    while True:
        yield samples[-1]


def test_an_idle_worker_costs_a_look_in_five_seconds() -> None:
    bench = Bench()
    assert bench.run(100, beats=True) == []
    assert bench.looks <= 100 / SLOWEST + 1


def test_without_limits_nobody_looks() -> None:
    bench = Bench()
    bench.look(Patience(0, 0))
    assert bench.health.due == float("inf")


@pytest.mark.parametrize("kind", ["sync", "threaded"])
def test_a_request_beyond_the_timeout_is_found_on_time(kind: str) -> None:
    bench = Bench(kind)
    bench.begin()
    found = bench.run(30.2, beats=kind == "threaded")
    assert len(found) == 1
    (overdue,) = found
    assert isinstance(overdue, ev.Overdue)
    assert "'GET /slow' has taken 30." in overdue.what
    assert "blocked" in overdue.what
    assert overdue.others == 0


@pytest.mark.parametrize(("threads", "others"), [(1, 0), (2, 1), (4, 3)])
def test_threads_that_still_answer_are_counted(threads: int, others: int) -> None:
    """Idle or at work in time: what they have, and what comes to them yet, need not be lost."""
    bench = Bench("threaded")
    bench.begin(b"/stuck")
    bench.run(20, Patience(30.0, 0.0, threads=threads), beats=True)
    if threads > 1:
        bench.begin(b"/fine")
    (overdue,) = bench.run(10.2, Patience(30.0, 0.0, threads=threads), beats=True)
    assert isinstance(overdue, ev.Overdue)
    assert overdue.others == others
    assert "/stuck" in overdue.what


def test_a_coroutine_may_take_its_time_but_the_loop_may_not() -> None:
    bench = Bench("asgi")
    bench.begin(b"/long-poll")
    assert bench.run(100, beats=True) == []
    found = bench.run(31.0)
    assert isinstance(found[0], ev.Overdue)
    assert "its loop has not turned" in found[0].what
    assert "/long-poll" in found[0].what


def test_an_idle_worker_beats_slowly_and_is_given_time() -> None:
    bench = Bench("asgi")
    assert bench.run(34.0) == []
    assert bench.run(2.0) != []


def test_spinning_is_told_from_blocked() -> None:
    bench = Bench()
    bench.kernel = says([Sample("R", 10.0, 0.0, False), Sample("R", 10.9, 0.0, False)])
    bench.begin()
    (overdue,) = bench.run(30.2)
    assert isinstance(overdue, ev.Overdue)
    assert "spinning" in overdue.what


def test_a_starved_worker_is_named_once_and_not_stopped() -> None:
    bench = Bench()
    start = bench.now
    bench.kernel = iter(lambda: Sample("R", 1.0, (bench.now - start) * 0.99, False), None)
    bench.begin()
    found = bench.run(60)
    assert len(found) == 1
    (let_off,) = found
    assert isinstance(let_off, ev.LetOff)
    assert "starved" in let_off.why
    assert bench.looks < 60, "it is looked at once a second, no oftener"


def test_a_spinning_worker_on_a_busy_machine_is_stopped_all_the_same() -> None:
    """Only the time for which it was kept waiting is forgiven."""
    bench = Bench()
    start = bench.now

    def kernel() -> Sample:
        return Sample("R", (bench.now - start) * 0.4, (bench.now - start) * 0.6, False)

    bench.kernel = iter(kernel, None)
    bench.begin()
    found = bench.run(40)
    overdue = [event for event in found if isinstance(event, ev.Overdue)]
    assert overdue
    assert "spinning" in overdue[0].what
    assert overdue[0].seconds < 34


@pytest.mark.parametrize(
    ("look", "word"),
    [
        (Sample("T", 0, 0, False), "stopped"),
        (Sample("t", 0, 0, True), "traced"),
        (Sample("S", 0, 0, True), "traced"),
    ],
)
def test_a_stopped_or_traced_worker_is_left_alone(look: Sample, word: str) -> None:
    bench = Bench()
    bench.kernel = says([look])
    bench.begin()
    (let_off,) = bench.run(60)
    assert isinstance(let_off, ev.LetOff)
    assert word in let_off.why


def test_a_worker_that_goes_on_after_having_been_stopped_is_judged_anew() -> None:
    bench = Bench()
    bench.kernel = says([Sample("T", 0, 0, False)])
    bench.begin()
    bench.run(40)
    bench.kernel = says([IDLE])
    (overdue,) = [event for event in bench.run(5) if isinstance(event, ev.Overdue)][:1]
    assert "blocked" in overdue.what


def test_time_in_which_the_arbiter_slept_does_not_count() -> None:
    """Suspend, SIGSTOP of the whole tree: everybody gets the full timeout again."""
    bench = Bench()
    bench.begin()
    bench.look()
    bench.now += 3600
    assert bench.look() == []
    assert bench.run(29) == []
    assert bench.run(2) != []


def test_a_slow_request_is_told_once() -> None:
    bench = Bench()
    bench.begin()
    found = bench.run(20, Patience(timeout=30.0, slow=5.0))
    assert len(found) == 1
    (slow,) = found
    assert isinstance(slow, ev.Slow)
    assert slow.text == "GET /slow"
    assert 5.0 <= slow.age < 5.5


def test_the_next_slow_request_in_the_same_lane_is_told_again() -> None:
    bench = Bench("asgi")
    slow = Patience(timeout=0.0, slow=5.0)
    for _ in range(3):
        start = int(bench.now * 1e9)
        lane = bench.begin()
        assert len(bench.run(8, slow, beats=True)) == 1
        bench.row.end(200, start, int(bench.now * 1e9), 0, lane)
        assert bench.run(8, slow, beats=True) == []
    assert bench.row[Word.REQUESTS] == 3


def test_an_extended_request_is_neither_slow_nor_late_until_then() -> None:
    bench = Bench()
    lane = bench.begin()
    assert bench.row.extend(lane, int(bench.now * 1e9), 60_000_000_000)
    patience = Patience(timeout=30.0, slow=10.0)
    assert bench.run(69.0, patience) == []
    (slow,) = bench.run(2.0, patience)
    assert isinstance(slow, ev.Slow)
    assert bench.run(18.0, patience) == []
    (late,) = bench.run(3.0, patience)
    assert isinstance(late, ev.Overdue)
    assert "(timeout = 30 s, extended by 60 s)" in late.what


def test_requests_have_a_limit_of_their_own() -> None:
    for kind, others in (("sync", 0), ("threaded", 2)):
        bench = Bench(kind)
        bench.begin()
        if others:
            bench.row.extend(bench.begin(b"/export"), int(bench.now * 1e9), 10**12)
        found = bench.run(6.0, Patience(timeout=30.0, slow=0.0, request=5.0, threads=3), beats=True)
        assert [type(one) for one in found][:1] == [ev.Overdue]
        assert "'GET /slow' has taken 5" in found[0].what  # type: ignore[union-attr]
        assert "(request_timeout = 5 s)" in found[0].what  # type: ignore[union-attr]
        assert found[0].others == others  # type: ignore[union-attr]


def test_an_asgi_worker_minds_its_requests_itself() -> None:
    bench = Bench("asgi")
    bench.begin()
    assert bench.run(100.0, Patience(timeout=30.0, slow=0.0, request=5.0), beats=True) == []
    assert bench.run(100.0, Patience(timeout=0.0, slow=0.0, request=5.0)) == []


def test_who_else_has_something_to_expect_of_a_stuck_worker() -> None:
    """Connections but for those of late requests: one may be sending a request, or be taking its answer."""
    bench = Bench("threaded")
    patience = Patience(timeout=30.0, slow=0.0, threads=4)
    bench.begin(b"/hung")
    bench.now += 25
    bench.begin(b"/export")
    bench.row.connections(3)

    def seen(patience: Patience = patience) -> ev.InWork:
        return bench.health.in_work(Watched(1, 41, "threaded", bench.row), patience, bench.now)

    assert seen() == ev.InWork(1, (("GET /hung", 25.0), ("GET /export", 0.0)), 3)
    bench.now += 6
    assert seen().others == 2
    assert seen(Patience(timeout=0.0, slow=0.0, request=5.0)).others == 1
    assert seen(Patience(timeout=0.0, slow=0.0)).others == 3, "without a limit nothing is late"
    bench.now += 25
    assert seen().others == 1
    bench.row.connections(2)
    assert seen().others == 0
