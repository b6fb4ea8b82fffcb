"""Who has more than his share steps back, briefly, and not for a sibling that takes nothing."""

from __future__ import annotations

import pytest

from arbiter.link.relay import SUPPORTED
from arbiter.link.scoreboard import Scoreboard, State, Word
from arbiter.workers.gate import ASKED, DOUBT, FRESH, LONGEST, MOVE, TOLERATED, Gate
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

    def after(self, own: int, *others: int) -> float:
        self.load = own
        for index, count in enumerate(others, 1):
            self.board.row(index).connections(count)
        return self.gate.after_accept()


def test_alone() -> None:
    assert Bench(0).after(1000) == 0.0


def test_even_or_less_goes_on() -> None:
    bench = Bench()
    assert bench.after(5, 5, 9) == 0.0
    assert bench.after(1, 5, 9) == 0.0


def test_a_little_more_moves_to_the_end_of_the_line() -> None:
    bench = Bench()
    assert bench.after(1 + TOLERATED, 1, 9) == MOVE
    assert bench.after(6, 5, 9) == MOVE


def test_far_more_steps_back_for_a_moment() -> None:
    bench = Bench()
    pauses = [bench.after(1 + TOLERATED + more, 1, 9) for more in range(1, 40)]
    assert all(0 < pause <= LONGEST for pause in pauses)
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST


def test_with_many_an_eighth_is_a_little() -> None:
    bench = Bench()
    assert bench.after(100, 90, 95) == MOVE
    assert bench.after(100, 80, 95) > 0


@pytest.mark.parametrize(
    ("word", "value"),
    [(Word.STATE, State.DRAINING), (Word.STATE, State.BOOTING), (Word.ACCEPTING, 0)],
)
def test_who_takes_nothing_does_not_count(word: Word, value: int) -> None:
    bench = Bench(1)
    bench.board.row(1).words[word] = value
    assert bench.after(50, 0) == 0.0


def test_a_sync_sibling_in_a_request_does_not_count() -> None:
    for away in (True, False):
        bench = Bench(1, away=away)
        bench.board.row(1).begin("GET", b"/long", 5)
        assert (bench.after(50, 0) == 0.0) is away


def test_a_pause_for_a_sibling_that_takes_nothing_is_not_repeated_for_a_while() -> None:
    """It may hang; its connections must not be waited for by everybody else's clients."""
    bench = Bench()
    assert bench.after(50, 0, 40) > 0
    bench.gate.was_of_use(waiting=True)
    assert bench.after(51, 0, 40) == MOVE
    bench.now += DOUBT + 0.01
    assert bench.after(52, 0, 40) > 0


@pytest.mark.parametrize(("took", "waiting"), [(1, True), (0, False), (1, False)])
def test_a_pause_that_was_of_use_is_repeated(took: int, waiting: bool) -> None:
    bench = Bench()
    assert bench.after(50, 0, 40) > 0
    bench.board.row(1).add(Word.ACCEPTED, took)
    bench.gate.was_of_use(waiting=waiting)
    assert bench.after(50, took, 40) > 0


def test_new_siblings_are_seen_before_long() -> None:
    bench = Bench(0)
    assert bench.after(50) == 0.0
    row = bench.board.row(1)
    row.clear(pid=7)
    row.set_state(State.READY)
    row.words[Word.ACCEPTING] = 1
    bench.board.reach(1)
    bench.now += FRESH
    assert bench.after(50) > 0


def test_of_many_siblings_a_few_are_asked_each_in_its_turn() -> None:
    bench = Bench(3 * ASKED)
    counts = [40] * (3 * ASKED)
    counts[17] = 0
    answers = [bench.after(41, *counts) for _ in range(3 * ASKED)]
    assert sum(1 for answer in answers if answer > 0) == ASKED


def test_the_siblings_are_told_who_accepts() -> None:
    bench = Bench()
    bench.gate.accepting(False)
    assert bench.board.row(0)[Word.ACCEPTING] == 0
    bench.gate.accepting(True)
    assert bench.board.row(0)[Word.ACCEPTING] == 1


@pytest.mark.skipif(not SUPPORTED, reason="needs an eventfd")
def test_a_sibling_is_woken_if_one_would_take_a_connection() -> None:
    bench = Bench(away=True)
    bench.gate.pass_on()
    assert ready([bench.board.relay], 0)
    bench.board.relay.take()
    bench.board.row(1).words[Word.ACCEPTING] = 0  # full
    bench.board.row(2).begin("GET", b"/", 1)  # at work
    bench.gate.pass_on()
    assert not ready([bench.board.relay], 0)
