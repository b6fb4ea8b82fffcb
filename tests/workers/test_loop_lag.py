"""What is told of a loop that was held up, and what is not."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from arbiter.link.scoreboard import Scoreboard, Word
from arbiter.workers import loop_lag
from arbiter.workers.loop_lag import LoopLag


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Log:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warning(self, message: str, *args: object, **more: Any) -> None:
        self.texts.append(message % args)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop_lag, "time", clock)
    return clock


def test_a_loop_that_turns_in_time_says_nothing(clock: Clock) -> None:
    row, log = Scoreboard(1).row(0), Log()
    lag = LoopLag(0.5, row, log)  # type: ignore[arg-type]
    for _ in range(5):
        lag.turned(0.1)
        clock.now += 0.2
    assert log.texts == []
    assert row[Word.LOOP_LAG_NS] == pytest.approx(0.1e9, rel=0.01)
    lag.close()


def test_a_loop_that_was_held_up_says_for_how_long(clock: Clock) -> None:
    row, log = Scoreboard(1).row(0), Log()
    lag = LoopLag(0.5, row, log)  # type: ignore[arg-type]
    lag.turned(0.2)
    clock.now += 3.5
    lag.turned(0.2)
    assert log.texts == ["the event loop was blocked for 3.4 s\n(no stack was taken)"]
    lag.rest()
    assert row[Word.LOOP_LAG_NS] == 0
    lag.close()


@pytest.mark.parametrize("warning", [0.1, 0.5, 1.0, 3.0])
def test_what_is_told_is_near_the_truth(clock: Clock, warning: float) -> None:
    """Wherever between two beats a block begins: beats are a part of what may pass."""
    for tenth in range(10):
        for length, told in ((0.8 * warning, False), (1.2 * warning, True), (4 * warning, True)):
            log = Log()
            lag = LoopLag(warning, Scoreboard(1).row(0), log)  # type: ignore[arg-type]
            lag.turned(lag.beat)
            clock.now += max(lag.beat, lag.beat * tenth / 10 + length)
            lag.turned(lag.beat)
            assert bool(log.texts) is told
            if told:
                seconds = float(log.texts[0].split()[6])
                assert seconds == pytest.approx(length, abs=0.13 * warning + 0.06)
            lag.close()


def test_without_a_warning_it_beats_slowly() -> None:
    lag = LoopLag(0, Scoreboard(1).row(0), Log())  # type: ignore[arg-type]
    assert lag.beat == 1.0


def test_an_idle_loop_may_sleep(clock: Clock) -> None:
    log = Log()
    lag = LoopLag(0.5, Scoreboard(1).row(0), log)  # type: ignore[arg-type]
    lag.turned(1.0)
    lag.rest()
    clock.now += 50
    lag.turned(1.0)
    assert log.texts == []
    lag.close()


def block(lag: LoopLag) -> None:
    """Hold the loop up until its stack is being taken: its head is written, the frames may be to come."""
    until, fd = time.monotonic() + 30, lag._file.fileno()  # type: ignore[union-attr]
    while os.fstat(fd).st_size == 0:
        assert time.monotonic() < until


def test_the_stack_is_taken_while_it_is_blocked() -> None:
    """Also if the loop goes on just while it is being written: the whole of it is told."""
    log = Log()
    lag = LoopLag(0.05, Scoreboard(1).row(0), log)  # type: ignore[arg-type]
    for _ in range(20):
        lag.turned(0.01)
        block(lag)
        lag.turned(0.01)
        assert "in test_the_stack_is_taken_while_it_is_blocked" in log.texts[-1]
        lag.rest()
    assert len(log.texts) == 20
    lag.close()


def test_a_stack_that_came_too_early_is_not_told_of_another_block(clock: Clock) -> None:
    log = Log()
    lag = LoopLag(0.5, Scoreboard(1).row(0), log)  # type: ignore[arg-type]
    lag.turned(0.1)
    os.write(lag._file.fileno(), b"Timeout (0:00:01.5)!\n  what blocked it just not for too long\n")  # type: ignore[union-attr]
    clock.now += 0.5
    lag.turned(0.1)
    clock.now += 1.1
    lag.turned(0.1)
    assert log.texts == ["the event loop was blocked for 1.1 s\n(no stack was taken)"]
    lag.close()
