"""The rule: at once up, slowly down, within its bounds, and quiet under a load that stays."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.supervisor.autoscale import (
    CALM,
    HORIZON,
    STEP,
    TARGET,
    UNDONE,
    Autoscale,
    Load,
    Room,
    Verdict,
)


class Bench:
    """A rule, a clock, and a number of workers that obeys."""

    def __init__(self, least: int = 2, most: int = 20, have: int = 2) -> None:
        self.now = 1000.0
        self.have = have
        self.rule = Autoscale(least, most, self.now)
        self.verdicts: list[Verdict] = []
        self.room = Room

    def look(self, busy: float, queued: int = 0, after: float = 0.5, service: float = 1.0) -> Verdict | None:
        self.now += after
        verdict = self.rule.look(Load(self.now, busy, queued, service), self.have, self.room)
        if verdict:
            self.have = verdict.workers
            self.verdicts.append(verdict)
        return verdict

    def stay(self, busy: float, seconds: float, every: float = 0.5) -> None:
        for _ in range(int(seconds / every)):
            self.look(busy, after=every)


def test_it_rises_at_once_to_what_is_needed_and_says_why() -> None:
    verdict = Bench().look(4.0, 3)
    assert verdict == Verdict(12, "load 4.0, 3 queued: 12 needed")


def test_short_requests_that_wait_count_in_proportion_and_long_ones_whole() -> None:
    assert Load(0.0, 1.0, 100, service=HORIZON / 100).demand == pytest.approx(2.0)
    assert Load(0.0, 1.0, 3, service=60.0).demand == 4.0
    assert Load(0.0, 1.0, 3).demand == 4.0, "not known: taken for long"
    assert Load(0.0, 1.0, 8, service=60.0, places=4).demand == 3.0


def test_it_falls_one_by_one_after_a_calm() -> None:
    bench = Bench()
    bench.look(6.0)
    assert bench.have == 10
    bench.stay(0.0, 120)
    steps = [verdict.workers for verdict in bench.verdicts[1:]]
    assert steps == list(range(9, 9 - len(steps), -1))
    assert 4 <= len(steps) <= 1 + (120 - CALM) / STEP
    assert "2 needed" in bench.verdicts[-1].why
    bench.stay(0.0, 300)
    assert bench.have == 2


def test_of_many_a_tenth_goes_at_a_time() -> None:
    bench = Bench(1, 200, 100)
    bench.stay(0.0, CALM + 1)
    assert bench.have == 90


def test_a_fall_that_was_wrong_makes_the_next_one_later() -> None:
    bench = Bench(1, 20, 1)

    def seconds_until_a_fall() -> float:
        since, had = bench.now, bench.have
        while bench.have == had:
            bench.look(0.1)
            assert bench.now - since < 1000
        return bench.now - since

    bench.look(2.0)
    waits = []
    for _ in range(4):
        waits.append(seconds_until_a_fall())
        bench.look(2.0)
        assert bench.have == 4
    assert waits == sorted(waits)
    assert waits[-1] > 4 * waits[0]
    assert waits[0] < UNDONE


def test_guards_are_asked_for_what_is_missing_and_refusals_are_told_once() -> None:
    bench = Bench()
    asked = []

    def room(more: int) -> Room:
        asked.append(more)
        return Room(1, "memory", "80 MiB are left")

    bench.room = room  # type: ignore[assignment]
    verdict = bench.look(6.0)
    assert verdict == Verdict(
        3, "load 6.0, 0 queued: 10 needed", "load 6.0, 0 queued: 10 needed; 80 MiB are left"
    )
    bench.room = lambda more: Room(0, "memory", "3 MiB are left")  # type: ignore[assignment, misc, return-value]
    bench.stay(6.0, 30)
    assert asked == [8]
    assert bench.verdicts == [verdict]
    bench.stay(0.5, UNDONE + 1)
    verdict = bench.look(6.0)
    assert verdict
    assert verdict.limit.endswith("3 MiB are left")


def test_the_maximum_is_told_when_more_are_needed() -> None:
    bench = Bench(2, 4)
    verdict = bench.look(9.0)
    assert verdict == Verdict(
        4, "load 9.0, 0 queued: 15 needed", "load 9.0, 0 queued: 15 needed; workers_max = 4"
    )
    bench.stay(9.0, 100)
    assert len(bench.verdicts) == 1
    assert bench.rule.needed == 15


def test_no_guard_forbids_the_minimum() -> None:
    bench = Bench(4, 8, 2)
    bench.room = lambda more: Room(0, "cpu", "the processors are used up")  # type: ignore[assignment, misc, return-value]
    bench.look(0.0)
    assert bench.have == 4


@given(
    least=st.integers(1, 10),
    more=st.integers(0, 60),
    history=st.lists(
        st.tuples(
            st.floats(0, 1000),
            st.integers(0, 5000),
            st.one_of(st.just(math.inf), st.floats(0, 100)),
            st.floats(0.01, 90),
            st.integers(0, 70),
        ),
        max_size=60,
    ),
)
def test_never_outside_of_the_bounds_and_never_beyond_the_room(
    least: int, more: int, history: list[tuple[float, int, float, float, int]]
) -> None:
    bench = Bench(least, least + more, least)
    for busy, queued, service, after, room in history:
        bench.room = lambda wanted, room=room: Room(min(room, wanted), "memory", "no")  # type: ignore[assignment, misc, return-value]
        before = bench.have
        bench.look(busy, queued, after, service)
        assert least <= bench.have <= least + more
        assert bench.have - before <= room


@given(busy=st.floats(0, 30), have=st.integers(1, 40))
def test_a_load_that_stays_is_decided_upon_once(busy: float, have: int) -> None:
    """Up in one step, or down in its steps; then nothing more, for hours."""
    bench = Bench(1, 40, have)
    bench.stay(busy, 1200, every=5.0)
    settled = bench.have
    assert settled == min(40, max(1, math.ceil(busy / TARGET - 1e-9)))
    count = len(bench.verdicts)
    bench.stay(busy, 7200, every=5.0)
    assert (bench.have, len(bench.verdicts)) == (settled, count)


@pytest.mark.parametrize("seed", range(10))
def test_a_load_that_trembles_moves_little(seed: int) -> None:
    chance = random.Random(seed)
    bench = Bench(1, 40, 1)
    for _ in range(2 * 3600):
        bench.look(max(0.0, chance.gauss(8.0, 2.0)))
    assert len(bench.verdicts) < 60, "within an hour"


def test_a_load_that_comes_and_goes_moves_ever_less() -> None:
    """Each fall must be paid for by a longer calm as long as the next wave undoes it."""
    bench = Bench(1, 40, 1)
    for _ in range(40):
        bench.stay(6.0, 20)
        bench.stay(0.0, 70)
    steady = Bench(1, 40, 1)
    steady.stay(6.0, 20)
    steady.stay(0.0, 70)
    assert len(bench.verdicts) < 40 * len(steady.verdicts) / 4
