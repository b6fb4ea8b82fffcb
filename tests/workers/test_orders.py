"""How a worker learns that its arbiter is gone, and what it does with what it is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from arbiter.workers.orders import Orders, Stop

NOBODY = 2**22 + 1
"""No process has this id: Linux gives none above 2**22."""

Make = Callable[..., Orders]


@pytest.fixture
def told() -> list[int]:
    return []


@pytest.fixture
def make(told: list[int]) -> Iterator[Make]:
    made: list[Orders] = []

    def orders(arbiter: int, lifeline: int = -1) -> Orders:
        made.append(Orders(arbiter, lifeline, 30.0, lambda: None))
        made[-1].bereft = told.append
        return made[-1]

    yield orders
    for one in made:
        one.close()


@pytest.mark.parametrize("first", ["lifeline", "signal"])
def test_the_arbiters_end_is_told_once_whatever_tells_it_first(
    make: Make, told: list[int], first: str
) -> None:
    lifeline, held = os.pipe()
    os.set_blocking(lifeline, False)
    orders = make(NOBODY, lifeline)
    assert orders.read() is Stop.NO
    assert told == []
    if first == "signal":
        orders.take(signal.SIGTERM)
        os.close(held)
    else:
        os.close(held)
        assert orders.read() is Stop.DRAIN
        orders.take(signal.SIGTERM)
    assert orders.read() is Stop.DRAIN
    assert told == [NOBODY]
    os.close(lifeline)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_an_ordinary_stop_is_no_such_end(make: Make, told: list[int], number: int) -> None:
    lifeline, held = os.pipe()
    os.set_blocking(lifeline, False)
    orders = make(os.getppid(), lifeline)
    orders.take(number)
    assert orders.read() is not Stop.NO
    assert told == []
    os.close(held)
    os.close(lifeline)
