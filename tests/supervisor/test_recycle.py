"""Workers that have become too old or too large are named, once each."""

from __future__ import annotations

from arbiter.link.scoreboard import Scoreboard, Word
from arbiter.supervisor import events as ev
from arbiter.supervisor.health import Watched
from arbiter.supervisor.recycle import INTERVAL, Bounds, Recycler

MIB = 2**20


def worker(key: int = 1, born: float = 0.0) -> Watched:
    row = Scoreboard(1).row(0)
    row.words[Word.STARTED_NS] = int(born * 1e9)
    return Watched(key, 40 + key, "sync", row)


def test_without_bounds_nobody_is_measured() -> None:
    recycler = Recycler(lambda pid: 1 // 0)  # type: ignore[arg-type, return-value]
    assert recycler.look([worker()], Bounds(0, 0, 0), 100.0) == []
    assert recycler.due == float("inf")


def test_age() -> None:
    recycler = Recycler(lambda pid: {})
    bounds = Bounds(age=60.0, memory=0, memory_hard=0)
    assert recycler.look([worker(born=50.0)], bounds, 100.0) == []
    assert recycler.look([worker(born=39.0)], bounds, 100.0 + INTERVAL) == [
        ev.WantsOut(1, "max_worker_age: 66 s old")
    ]


def test_it_looks_now_and_then_and_names_everybody_once() -> None:
    sizes = iter([{"uss": 90 * 1024}, {"uss": 90 * 1024}, {"uss": 200 * 1024}])
    recycler = Recycler(lambda pid: next(sizes))
    bounds = Bounds(0, 50 * MIB, 150 * MIB)
    (event,) = recycler.look([worker()], bounds, 10.0)
    assert event == ev.WantsOut(1, "max_worker_memory: 90 MiB of its own")
    assert recycler.look([worker()], bounds, 10.0 + INTERVAL / 2) == []
    assert recycler.look([worker()], bounds, 10.0 + INTERVAL) == []
    (event,) = recycler.look([worker()], bounds, 10.0 + 2 * INTERVAL)
    assert event == ev.WantsOut(1, "max_worker_memory_hard: 200 MiB of its own", urgent=True)


def test_a_kernel_that_does_not_tell_recycles_nobody() -> None:
    assert Recycler(lambda pid: {}).look([worker()], Bounds(0, 1, 1), 1.0) == []
