"""The chain of awaits of every kind of task is found, and the text has bounds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from arbiter.workers.dispatch.start import Starter
from arbiter.workers.task_stacks import MOST_BYTES, MOST_TASKS, describe

NONE = frozenset({"main"})


async def leaf(gate: asyncio.Event) -> None:
    await gate.wait()


async def branch(gate: asyncio.Event) -> None:
    await leaf(gate)


async def numbers(gate: asyncio.Event) -> AsyncIterator[int]:
    await leaf(gate)
    yield 1


async def through_generator(gate: asyncio.Event) -> None:
    async for _ in numbers(gate):
        pass


class Awaitable:
    def __init__(self, gate: asyncio.Event) -> None:
        self.gate = gate

    def __await__(self) -> Any:
        return leaf(self.gate).__await__()


async def through_object(gate: asyncio.Event) -> None:
    await Awaitable(gate)


async def through_task(gate: asyncio.Event) -> None:
    await asyncio.create_task(leaf(gate), name="inner")


def told(start: Callable[[asyncio.Event], list[asyncio.Task[None]]], **requests: str) -> str:
    """What is told of the tasks that `start` makes, once they wait."""

    async def main() -> str:
        gate = asyncio.Event()
        tasks = start(gate)
        for _ in range(5):
            await asyncio.sleep(0)
        asyncio.current_task().set_name("main")  # type: ignore[union-attr]
        marked = {task: requests[task.get_name()] for task in tasks if task.get_name() in requests}
        text = describe(asyncio.get_running_loop(), marked, NONE)
        gate.set()
        await asyncio.gather(*tasks)
        return text

    return asyncio.run(main())


def function_names(text: str) -> list[str]:
    return [line.rsplit(" in ", 1)[1] for line in text.splitlines() if line.startswith('  File "')]


@pytest.mark.parametrize(
    ("view", "names"),
    [
        (branch, ["wait", "leaf", "branch"]),
        (through_generator, ["wait", "leaf", "numbers", "through_generator"]),
        (through_object, ["wait", "leaf", "through_object"]),
    ],
)
def test_the_chain_is_followed(
    view: Callable[[asyncio.Event], Coroutine[Any, Any, None]], names: list[str]
) -> None:
    text = told(lambda gate: [asyncio.create_task(view(gate), name="one")])
    assert text.startswith("Task one (most recent call first):\n")
    assert function_names(text) == names
    assert f'File "{__file__}", line ' in text


def test_a_task_that_waits_for_a_task_says_for_which() -> None:
    text = told(lambda gate: [asyncio.create_task(through_task(gate), name="one")])
    assert "  awaits task inner\n" in text
    assert "Task inner" in text


def test_requests_come_first_and_say_what_they_are() -> None:
    def start(gate: asyncio.Event) -> list[asyncio.Task[None]]:
        plain = asyncio.create_task(leaf(gate), name="a")
        return [plain, asyncio.create_task(branch(gate), name="b")]

    text = told(start, b="GET /slow, begun 3.0 s ago")
    assert text.startswith("Task b: GET /slow, begun 3.0 s ago (most recent call first):\n")
    assert text.index("Task b") < text.index("Task a")


def test_equal_stacks_are_told_once() -> None:
    text = told(lambda gate: [asyncio.create_task(leaf(gate), name=f"t{n}") for n in range(40)])
    assert text.startswith("Task t0 and 39 more like it (most recent call first):\n")
    assert function_names(text) == ["wait", "leaf"]


def test_the_text_has_bounds() -> None:
    async def nest(depth: int, gate: asyncio.Event) -> None:
        await (nest(depth - 1, gate) if depth else leaf(gate))

    def start(gate: asyncio.Event) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(nest(n, gate), name=f"t{n}") for n in range(MOST_TASKS + 30)]

    text = told(start)
    assert len(text.encode()) <= MOST_BYTES
    assert text.rstrip().endswith("tasks more")


def test_a_parked_spare_task_is_not_told_and_a_driving_one_by_its_call() -> None:
    async def main() -> tuple[str, str]:
        loop = asyncio.get_running_loop()
        asyncio.current_task().set_name("main")  # type: ignore[union-attr]
        starter = Starter(loop)
        gate = asyncio.Event()

        async def nothing() -> None:
            pass

        started = []
        ran = asyncio.Event()

        def first() -> None:
            started.append(starter.start_spare(nothing()))

        def second() -> None:
            started.append(starter.start_spare(branch(gate)))
            ran.set()

        for _ in range(2):  # one call has it made and parked, the next takes note of it
            loop.call_soon(first)
            for _ in range(3):
                await asyncio.sleep(0)
        parked = describe(loop, {}, NONE)
        loop.call_soon(second)
        await ran.wait()
        for _ in range(3):
            await asyncio.sleep(0)
        driving = describe(loop, {}, NONE)
        gate.set()
        for task in started:
            if task is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        return parked, driving

    parked, driving = asyncio.run(main())
    assert parked == ""
    assert function_names(driving)[:3] == ["wait", "leaf", "branch"]
    assert driving.startswith("Task spare (most recent call first):")


def test_a_task_that_runs_is_told_with_its_frame() -> None:
    async def main() -> str:
        return describe(asyncio.get_running_loop(), {}, frozenset())

    assert "in main" in asyncio.run(main())
