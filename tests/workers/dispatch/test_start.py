"""Starting application calls: a real task, a fresh context, cancellation that works, in every way of
starting.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop

from arbiter.workers.dispatch.start import EAGER, Starter

VALUE: contextvars.ContextVar[str] = contextvars.ContextVar("VALUE", default="unset")

anyio = pytest.importorskip("anyio")


class Bench:
    """A loop, a starter, and a way to start coroutines as callbacks of the loop do."""

    def __init__(self, loop: asyncio.AbstractEventLoop, way: str) -> None:
        self.loop = loop
        self.starter = Starter(loop)
        self.way = way
        self.tasks: list[asyncio.Task[None] | None] = []

    def run(self, *functions: Callable[[], Awaitable[None]]) -> None:
        """Start each as a call of its own, one callback each, and wait until all are over."""

        async def main() -> None:
            await self.warm()
            over = [self.loop.create_future() for _ in functions]
            for function, done in zip(functions, over, strict=True):
                self.loop.call_soon(self._start, function, done)
            await asyncio.wait_for(asyncio.gather(*over), 10)

        self.loop.run_until_complete(main())

    async def warm(self) -> None:
        """Let the starter have a spare task, if it is of that kind."""
        if self.way == "spare":
            await warm(self.starter)

    def _start(self, function: Callable[[], Awaitable[None]], done: asyncio.Future[None]) -> None:
        async def call() -> None:
            try:
                await function()
            except BaseException as error:
                done.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))
            else:
                done.set_result(None)

        if self.way == "spare":
            self.starter._skip = 0
        start = {"plain": self.starter.start, "spare": self.starter.start_spare, "best": self.starter.best}[
            self.way
        ]
        self.tasks.append(start(call()))


async def warm(starter: Starter) -> None:
    """Two calls: the one that finds no spare task, and the one that finds it parked."""
    for _ in range(2):
        starter._skip = 0
        starter.start_spare(_nothing())
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def _nothing() -> None:
    pass


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    made = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
    yield made
    for task in asyncio.all_tasks(made):
        task.cancel()
    made.run_until_complete(asyncio.sleep(0))
    made.close()


@pytest.fixture(params=["plain", "spare", "best"])
def bench(request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop) -> Bench:
    if request.param == "spare" and EAGER:
        pytest.skip("this Python has eager tasks")
    return Bench(loop, request.param)


def test_it_runs_in_a_task_before_and_after_waiting(bench: Bench) -> None:
    seen: list[Any] = []

    async def call() -> None:
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())
        await asyncio.sleep(0.001)
        seen.append(asyncio.current_task())

    bench.run(call)
    assert isinstance(seen[0], asyncio.Task)
    assert seen[0] is seen[1] is seen[2]
    assert bench.tasks[0] is seen[0]


def test_each_call_has_a_context_of_its_own(bench: Bench) -> None:
    """Nothing set in one call is seen in another, nor lost within one."""
    seen: list[str] = []

    def calling(name: str, *, waits: bool) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            seen.append(VALUE.get())
            VALUE.set(name)
            if waits:
                await asyncio.sleep(0.001)
            assert VALUE.get() == name

        return call

    bench.run(*(calling(str(n), waits=bool(n % 2)) for n in range(6)))
    assert seen == ["unset"] * 6


def test_exceptions_of_what_is_awaited_arrive(bench: Bench) -> None:
    async def call() -> None:
        future: asyncio.Future[None] = bench.loop.create_future()
        bench.loop.call_soon(future.set_exception, ValueError("x"))
        with pytest.raises(ValueError, match="x"):
            await future
        child = asyncio.ensure_future(_raise())
        with pytest.raises(KeyError):
            await child

    bench.run(call)


async def _group_that_fails() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(10))
        group.create_task(_raise())


async def _raise() -> None:
    await asyncio.sleep(0)
    raise KeyError


def test_cancelling_from_outside(bench: Bench) -> None:
    """Also what is awaited is cancelled, and the message arrives."""
    seen: list[Any] = []

    async def child() -> None:
        bench.loop.call_soon(lambda: bench.tasks[0].cancel("why"))  # type: ignore[union-attr]
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append("child")
            raise

    async def call() -> None:
        try:
            await asyncio.ensure_future(child())
        except asyncio.CancelledError as error:
            seen.append(error.args)

    bench.run(call)
    assert seen == ["child", ("why",)]


@pytest.mark.parametrize("soon", ["first step", "before adoption"])
def test_cancelling_at_once(bench: Bench, soon: str) -> None:
    """In the first step itself, and between it and the loop's next turn."""
    seen: list[Any] = []

    async def call() -> None:
        task = asyncio.current_task()
        assert task is not None
        if soon == "first step":
            task.cancel("why")
        else:
            bench.loop.call_soon(task.cancel, "why")
        waiting = bench.loop.create_future()
        try:
            await waiting
        except asyncio.CancelledError:
            seen.append((task.cancelling(), waiting.cancelled()))
            task.uncancel()
        await asyncio.sleep(0.001)
        seen.append("went on")

    bench.run(call)
    assert seen == [(1, True), "went on"]


def test_cancelling_and_ending_in_the_first_step_harms_nobody_else(bench: Bench) -> None:
    async def first() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def second() -> None:
        await asyncio.sleep(0.001)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    bench.run(first, second, second)


def test_timeouts(bench: Bench) -> None:
    async def call() -> None:
        for seconds in (0, 0.001):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.sleep(10)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(10), 0.001)
        async with asyncio.timeout(10):
            await asyncio.sleep(0)

    bench.run(call, call)


def test_task_groups(bench: Bench) -> None:
    async def call() -> None:
        with pytest.raises(ExceptionGroup):
            await _group_that_fails()
        async with asyncio.TaskGroup() as group:
            done = group.create_task(asyncio.sleep(0, "x"))
        assert done.result() == "x"

    bench.run(call, call)


def test_anyio(bench: Bench) -> None:
    """Cancel scopes look into tasks rather deeply."""

    async def call() -> None:
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep(10)
        assert scope.cancelled_caught
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(10)
        assert scope.cancelled_caught
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 10)
            await anyio.sleep(0)
            group.cancel_scope.cancel()
        assert await anyio.to_thread.run_sync(lambda: 42) == 42

    async def at_once() -> None:
        with anyio.CancelScope():
            pass

    bench.run(call, at_once, call, at_once, at_once, call)


def test_asgiref(bench: Bench) -> None:
    """Locals and thread hops of Django."""
    sync = pytest.importorskip("asgiref.sync")
    local = pytest.importorskip("asgiref.local").Local()

    def calling(name: str) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            assert not hasattr(local, "name")
            local.name = name
            async with sync.ThreadSensitiveContext():
                assert await sync.sync_to_async(lambda: local.name)() == name
            assert local.name == name

        return call

    bench.run(*(calling(str(n)) for n in range(4)))


def test_exceptions_leave_the_task_that_was_entered(loop: asyncio.AbstractEventLoop) -> None:
    """A coroutine that raises in its first step raises in its task, and the next call has a task all the
    same.
    """
    bench = Bench(loop, "best")
    seen: list[Any] = []

    async def call() -> None:
        seen.append(asyncio.current_task())

    bench.run(call, call)
    assert all(isinstance(task, asyncio.Task) for task in seen)


# ---------------------------------------------------------------- spare tasks

spare_only = pytest.mark.skipif(EAGER, reason="this Python has eager tasks")


@spare_only
def test_a_spare_task_serves_many_calls(loop: asyncio.AbstractEventLoop) -> None:
    """The point of it: calls that do not wait share one task, one after the other."""
    bench = Bench(loop, "spare")
    seen: set[int] = set()

    async def call() -> None:
        seen.add(id(asyncio.current_task()))

    bench.run(*[call] * 10)
    assert len(seen) == 1
    assert bench.tasks == [None] * 10


def _keep(task: asyncio.Task[Any], kept: list[Any]) -> None:
    kept.append(task)


def _refer(task: asyncio.Task[Any], kept: list[Any]) -> None:
    kept.append(weakref.ref(task))


def _name(task: asyncio.Task[Any], kept: list[Any]) -> None:
    task.set_name("mine")


def _cancel(task: asyncio.Task[Any], kept: list[Any]) -> None:
    task.cancel()


def _cancel_and_uncancel(task: asyncio.Task[Any], kept: list[Any]) -> None:
    task.cancel()
    task.uncancel()


def _call_back(task: asyncio.Task[Any], kept: list[Any]) -> None:
    task.add_done_callback(lambda done: kept.append("done"))


@spare_only
@pytest.mark.parametrize("touch", [_keep, _refer, _name, _cancel, _cancel_and_uncancel, _call_back])
def test_a_touched_task_is_not_used_again(
    loop: asyncio.AbstractEventLoop, touch: Callable[[asyncio.Task[Any], list[Any]], None]
) -> None:
    """What one call did to its task must not be seen by the next."""
    bench = Bench(loop, "spare")
    kept: list[Any] = []
    touched: list[int] = []
    names: list[str] = []

    async def first() -> None:
        task = asyncio.current_task()
        assert task is not None
        touched.append(id(task))
        touch(task, kept)

    async def second() -> None:
        task = asyncio.current_task()
        assert task is not None
        assert task not in kept
        assert not task.cancelling()
        names.append(task.get_name())

    bench.run(first, second)
    bench.run(second, second)
    gc.collect()
    assert "mine" not in names
    if touch is _call_back:
        assert kept == ["done"]  # the task ended as tasks do


@spare_only
def test_calls_that_wait_get_plain_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """A spare task gains nothing for them; it is tried again now and then."""
    starter = Starter(loop)
    kinds: list[str] = []

    async def call() -> None:
        task = asyncio.current_task()
        assert task is not None
        kinds.append(task.get_name())
        await asyncio.sleep(0)

    async def main() -> None:
        for _ in range(40):
            loop.call_soon(starter.start_spare, call())
            await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    assert len(kinds) == 40
    assert 2 <= kinds.count("spare") <= 8


@spare_only
def test_within_a_task_there_is_no_entering_another(loop: asyncio.AbstractEventLoop) -> None:
    starter = Starter(loop)
    seen: list[Any] = []

    async def call() -> None:
        seen.append(asyncio.current_task())

    async def main() -> None:
        await warm(starter)
        task = starter.start_spare(call())
        assert task is not None
        await task
        assert seen == [task]

    loop.run_until_complete(main())


@spare_only
def test_cancelling_all_tasks_spares_nobody(loop: asyncio.AbstractEventLoop) -> None:
    """As shutdown code does: the parked task ends, the next call gets another."""
    starter = Starter(loop)
    seen: list[Any] = []

    async def call() -> None:
        seen.append(asyncio.current_task())

    async def main() -> None:
        await warm(starter)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        loop.call_soon(starter.start_spare, call())
        await asyncio.sleep(0.001)
        loop.call_soon(starter.start_spare, call())
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    assert len(seen) == 2
