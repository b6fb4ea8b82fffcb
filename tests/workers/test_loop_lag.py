"""What is told of a loop that was held up, and what is not."""

from __future__ import annotations

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
        lag.turned(1.0)
        clock.now += 1.1
    assert log.texts == []
    assert row[Word.LOOP_LAG_NS] == pytest.approx(0.1e9, rel=0.01)
    lag.close()


def test_a_loop_that_was_held_up_says_for_how_long(clock: Clock) -> None:
    row, log = Scoreboard(1).row(0), Log()
    lag = LoopLag(0.5, row, log)  # type: ignore[arg-type]
    lag.turned(1.0)
    clock.now += 3.5
    lag.turned(1.0)
    assert log.texts == ["the event loop was blocked for 2.5 s\n(no stack was taken)"]
    lag.rest()
    assert row[Word.LOOP_LAG_NS] == 0
    lag.close()


def test_an_idle_loop_may_sleep(clock: Clock) -> None:
    log = Log()
    lag = LoopLag(0.5, Scoreboard(1).row(0), log)  # type: ignore[arg-type]
    lag.turned(1.0)
    lag.rest()
    clock.now += 50
    lag.turned(1.0)
    assert log.texts == []
    lag.close()


def test_the_stack_is_taken_while_it_is_blocked() -> None:
    log = Log()
    lag = LoopLag(0.05, Scoreboard(1).row(0), log)  # type: ignore[arg-type]
    lag.turned(0.05)
    until = time.monotonic() + 5
    while not lag._file.written() and time.monotonic() < until:  # type: ignore[union-attr]
        pass
    lag.turned(0.05)
    lag.close()
    assert "test_the_stack_is_taken_while_it_is_blocked" in log.texts[0]
