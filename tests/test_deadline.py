"""More time for a request: who gets it, and that nobody is failed for asking."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

import arbiter
from arbiter.deadline import CURRENT


class Request:
    def __init__(self) -> None:
        self.extended = 0.0

    def extend(self, seconds: float) -> bool:
        self.extended += seconds
        return True


def test_without_a_request_it_does_nothing_and_says_so() -> None:
    assert contextvars.Context().run(arbiter.extend_deadline, 5.0) is False


def test_it_reaches_the_request_of_its_context_also_from_tasks_and_threads() -> None:
    async def view(request: Request) -> None:
        CURRENT.set(request)
        assert arbiter.extend_deadline(1)
        assert await asyncio.to_thread(arbiter.extend_deadline, 2)

        async def child() -> None:
            assert arbiter.extend_deadline(4)

        await asyncio.create_task(child())

    async def main() -> list[float]:
        requests = [Request(), Request()]
        await asyncio.gather(*(asyncio.create_task(view(request)) for request in requests))
        return [request.extended for request in requests]

    assert asyncio.run(main()) == [7.0, 7.0]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_what_is_no_number_of_seconds_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        arbiter.extend_deadline(seconds)
