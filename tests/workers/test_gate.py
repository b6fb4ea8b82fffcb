"""Who has more than his share steps back, briefly, and not again for a sibling that takes nothing.

First one gate and what it says, then a crowd of workers, and how evenly they share what comes. What real ones
do is shown by `python -m tests.balance`.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.link.relay import SUPPORTED
from arbiter.link.scoreboard import Scoreboard, State, Word
from arbiter.workers.gate import (
    ASKED,
    BRIEF,
    FRESH,
    LONGEST,
    LOOK,
    LOOKS,
    PATIENCE,
    PATIENCE_SHARE,
    TOLERATED,
    Gate,
    Turn,
)
from tests.fakes.crowd import Crowd
from tests.ready import ready


class Bench:
    """Worker 0 and its siblings, on a scoreboard."""

    def __init__(self, siblings: int = 2, *, away: bool = False) -> None:
        self.board = Scoreboard(40)
        self.now = 100.0
        self.load = 0
        for index in range(siblings + 1):
            row = self.board.row(index)
            row.clear(pid=1000 + index)
            row.set_state(State.READY)
            row.words[Word.ACCEPTING] = 1
            self.board.reach(index)
        self.gate = Gate(self.board, self.board.row(0), lambda: self.load, away=away, clock=lambda: self.now)

    def have(self, own: int, *others: int) -> None:
        self.load = own
        for index, count in enumerate(others, 1):
            self.board.row(index).connections(count)

    def after(self, own: int, *others: int) -> Turn:
        """Whose turn it is, once the worker and its siblings have so many."""
        self.have(own, *others)
        return self.gate.after_accept()

    def stays(self, waiting: bool = True) -> float:
        """For how many seconds a worker that has stepped back does so, connections `waiting` all the time."""
        began = self.now
        self.now += LOOK
        while self.gate.stay_back(waiting):
            self.now += LOOK
            assert self.now - began < 10
        return self.now - began

    def take(self, index: int, count: int = 1) -> None:
        """A sibling takes connections."""
        row = self.board.row(index)
        row.add(Word.ACCEPTED, count)
        row.connections(row[Word.CONNECTIONS] + count)


def test_alone() -> None:
    assert Bench(0).after(1000) is Turn.OWN


def test_even_or_less_goes_on() -> None:
    bench = Bench()
    assert bench.after(5, 5, 9) is Turn.OWN
    assert bench.after(1, 5, 9) is Turn.OWN


def test_a_little_more_moves_to_the_end_of_the_line() -> None:
    bench = Bench()
    assert bench.after(1 + TOLERATED, 1, 9) is Turn.LAST
    assert bench.after(6, 5, 9) is Turn.LAST


def test_far_more_steps_back() -> None:
    assert Bench().after(2 + TOLERATED, 1, 9) is Turn.THEIRS


def test_with_many_an_eighth_is_a_little() -> None:
    bench = Bench()
    assert bench.after(100, 90, 95) is Turn.LAST
    assert bench.after(100, 80, 95) is Turn.THEIRS


def test_whoever_has_stepped_back_is_called_by_what_the_siblings_have() -> None:
    bench = Bench()
    assert bench.after(8, 0, 9) is Turn.THEIRS
    assert bench.gate.stay_back(waiting=True)
    bench.take(1, 8 - TOLERATED - 1)
    assert bench.gate.stay_back(waiting=True)
    bench.take(1)
    assert not bench.gate.stay_back(waiting=True)


def test_nobody_steps_back_from_an_empty_queue() -> None:
    bench = Bench()
    assert bench.after(8, 0, 9) is Turn.THEIRS
    assert not bench.gate.stay_back(waiting=False)
    assert bench.after(9, 0, 9) is Turn.THEIRS, "and it says nothing against a sibling"


def test_what_waits_does_not_wait_long() -> None:
    """The sibling takes some, but does not catch up."""
    bench = Bench()
    assert bench.after(100, 0, 90) is Turn.THEIRS
    bench.take(1)
    assert bench.stays() == pytest.approx(LOOKS * LOOK)


def test_nor_does_it_where_every_look_takes_long() -> None:
    bench = Bench()
    assert bench.after(100, 0, 90) is Turn.THEIRS
    bench.now += LONGEST / 2
    assert bench.gate.stay_back(waiting=True)
    bench.now += LONGEST / 2
    assert not bench.gate.stay_back(waiting=True)


@pytest.mark.parametrize(
    ("word", "value"),
    [(Word.STATE, State.DRAINING), (Word.STATE, State.BOOTING), (Word.ACCEPTING, 0)],
)
def test_who_takes_nothing_does_not_count(word: Word, value: int) -> None:
    bench = Bench(1)
    bench.board.row(1).words[word] = value
    assert bench.after(50, 0) is Turn.OWN
    bench.board.row(1).words[word] = {Word.STATE: State.READY, Word.ACCEPTING: 1}[word]
    assert bench.after(50, 0) is Turn.THEIRS
    bench.board.row(1).words[word] = value
    assert not bench.gate.stay_back(waiting=True), "it has become so meanwhile"


@pytest.mark.parametrize(("age", "counts"), [(BRIEF / 2, True), (BRIEF * 2, False)])
def test_a_sibling_that_has_been_full_for_long_does_not_count(age: float, counts: bool) -> None:
    """All threads have a request; most are over before the others have taken all there is."""
    bench = Bench(1)
    bench.board.row(1).words[Word.ACCEPTING] = int((bench.now - age) * 1e9)
    assert bench.after(50, 0) is (Turn.THEIRS if counts else Turn.OWN)


@pytest.mark.parametrize(("age", "counts"), [(BRIEF / 2, True), (BRIEF * 2, False)])
def test_a_sync_sibling_that_is_long_in_a_request_does_not_count(age: float, counts: bool) -> None:
    """A short request is over before the others have taken all there is."""
    for away in (True, False):
        bench = Bench(1, away=away)
        bench.board.row(1).begin("GET", b"/", int((bench.now - age) * 1e9))
        assert bench.after(50, 0) is (Turn.THEIRS if counts or not away else Turn.OWN)


def test_a_sibling_that_takes_nothing_is_not_waited_for_again_until_far_more_depends_on_it() -> None:
    """It may hang; its connections must not be waited for by everybody else's clients."""
    bench = Bench()
    waited_at = []
    for own in range(1, 1001):
        if bench.after(own, 0, own) is Turn.THEIRS:
            bench.stays()
            waited_at.append(own)
    assert waited_at == [4, 17, 69, 277]


def test_a_sibling_that_hangs_hides_none_that_does_not() -> None:
    bench = Bench()
    assert bench.after(8, 0, 8) is Turn.THEIRS
    bench.stays()
    assert bench.after(9, 0, 8) is Turn.LAST
    assert bench.after(12, 0, 8) is Turn.THEIRS


def test_a_sibling_that_takes_connections_again_is_as_good_as_any() -> None:
    bench = Bench()
    assert bench.after(8, 0, 8) is Turn.THEIRS
    bench.stays()
    bench.take(1)
    assert bench.after(9, 1, 8) is Turn.THEIRS


def test_patience_has_an_end_and_comes_back_slowly() -> None:
    """A sibling takes connections and ends them, all the time: it will never have as many."""
    bench = Bench(1)
    began, held_up = bench.now, 0.0
    while bench.now < began + 20:
        bench.now += LOOK
        if bench.after(1000, 0) is Turn.THEIRS:
            bench.board.row(1).add(Word.ACCEPTED)
            held_up += bench.stays()
    assert PATIENCE <= held_up <= PATIENCE + 20 * PATIENCE_SHARE + LOOKS * LOOK


def test_new_siblings_are_seen_before_long() -> None:
    bench = Bench(0)
    assert bench.after(50) is Turn.OWN
    row = bench.board.row(1)
    row.clear(pid=7)
    row.set_state(State.READY)
    row.words[Word.ACCEPTING] = 1
    bench.board.reach(1)
    bench.now += FRESH
    assert bench.after(50) is Turn.THEIRS


def test_of_many_siblings_a_few_are_asked_each_in_its_turn() -> None:
    bench = Bench(3 * ASKED)
    counts = [40] * (3 * ASKED)
    counts[17] = 0
    answers = [bench.after(41, *counts) for _ in range(3 * ASKED)]
    assert answers.count(Turn.THEIRS) == ASKED


def test_the_siblings_are_told_who_accepts() -> None:
    bench = Bench()
    bench.gate.accepting(False)
    assert bench.board.row(0)[Word.ACCEPTING] == bench.now * 1e9
    bench.gate.accepting(True)
    assert bench.board.row(0)[Word.ACCEPTING] == 1


@pytest.mark.skipif(not SUPPORTED, reason="needs an eventfd")
def test_a_sibling_is_woken_if_one_would_take_a_connection() -> None:
    bench = Bench(away=True)
    bench.gate.pass_on()
    assert ready([bench.board.relay], 0)
    bench.board.relay.take()
    bench.board.row(1).words[Word.ACCEPTING] = int(bench.now * 1e9)  # full
    bench.board.row(2).begin("GET", b"/", int(bench.now * 1e9))  # at work
    bench.gate.pass_on()
    assert not ready([bench.board.relay], 0)


# -- a crowd of workers with their gates: see `tests.fakes.crowd`


def crowd(count: int, **options: Any) -> contextlib.closing[Crowd]:
    return contextlib.closing(Crowd(count, **options))


def points(held: list[int]) -> float:
    """By how many percent of all connections the share of any worker differs from an even one."""
    total, even = sum(held), 100 / len(held)
    return max(abs(100 * count / total - even) for count in held)


SEEDS = st.integers(0, 1 << 32)


@pytest.mark.parametrize("workers", [2, 4, 8])
@pytest.mark.parametrize("count", [100, 200, 400])
@given(seed=SEEDS, processors=st.integers(1, 4), every=st.floats(1e-6, 200e-6))
def test_a_burst_of_kept_connections_is_shared_evenly(
    workers: int, count: int, seed: int, processors: int, every: float
) -> None:
    with crowd(workers, seed=seed, processors=processors) as machine:
        machine.burst(count, every)
        machine.run(5)
        assert sum(machine.held) == count
        assert points(machine.held) <= 10  # nearly always 5: with one processor for two workers once 7


def test_without_gates_it_is_not() -> None:
    """Or the simulation would prove nothing."""
    with crowd(4, gated=False) as machine:
        machine.keep_away(3, 0.02)
        machine.burst(200)
        machine.run(5)
        assert sum(machine.held) == 200
        assert points(machine.held) > 20


@given(seed=SEEDS, first=st.floats(0, 0.02), second=st.floats(0, 0.02))
def test_workers_that_get_a_processor_late_have_their_share_all_the_same(
    seed: int, first: float, second: float
) -> None:
    with crowd(4, seed=seed) as machine:
        machine.keep_away(0, first)
        machine.keep_away(1, second)
        machine.burst(200)
        machine.run(5)
        assert sum(machine.held) == 200
        assert points(machine.held) <= 10


@given(seed=SEEDS, stopped=st.sets(st.integers(0, 3), min_size=1, max_size=3))
def test_stopped_workers_are_waited_for_a_few_times(seed: int, stopped: set[int]) -> None:
    """By whoever has 4, 17 and 69 connections; the others share evenly."""
    with crowd(4, seed=seed) as machine:
        for index in stopped:
            machine.keep_away(index)
        machine.burst(200)
        machine.run(5)
        assert sum(machine.held) == 200
        assert points(machine.held[: 4 - len(stopped)]) <= 5
        assert max(machine.waits) < 5 * LOOKS * LOOK


@pytest.mark.parametrize("seed", range(3))
def test_a_worker_that_is_new_is_not_left_alone_with_what_is_too_much_for_it(seed: int) -> None:
    """The others have many kept connections. What comes is short, so it will never have as many, and it is
    twice what one worker can take.
    """
    with crowd(4, seed=seed, processors=4, lasts=0.001) as machine:
        for worker in machine.workers[1:]:
            worker.have(1000)
        machine.burst(10_000, 20e-6)
        machine.run(5)
        assert len(machine.waits) == 10_000
        assert max(machine.waits) < PATIENCE
