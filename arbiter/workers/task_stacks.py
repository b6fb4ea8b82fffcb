"""What an event loop's tasks wait for, as text.

Neighbours: `dispatch.tasks` calls it for the loop it runs; `process` writes the result behind the stacks of
the threads; `supervisor.dumps` reads both. Its one rule: it looks, from within a signal handler if need be,
and changes nothing; whatever it cannot make out it leaves out.

A task that waits has no thread and no stack; what it has is a chain: its coroutine awaits another one, which
awaits another one, down to a future. Python keeps the links (`cr_await`, `gi_yieldfrom`, `ag_await`) on the
objects themselves, but for some of C's making, which the garbage collector can see through.
"""

from __future__ import annotations

import asyncio
import gc
import os
import types
from collections.abc import Iterator, Mapping
from typing import Any, Final

from arbiter.workers.dispatch.start import driven_call

MOST_TASKS: Final = 64
"""Different stacks told of at most."""
MOST_FRAMES: Final = 40
"""Frames told of at most for each."""
MOST_BYTES: Final = 32 * 1024
"""Of the whole text."""
_SEEN: Final = 2000
"""Tasks looked at, at most: this may run while requests wait."""

_OURS: Final = f'  File "{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}{os.sep}'

_Chain = tuple[tuple[str, ...], str]


def describe(
    loop: asyncio.AbstractEventLoop, requests: Mapping[asyncio.Task[Any], str], ours: frozenset[str]
) -> str:
    """The stacks of the tasks of `loop`, those of `requests` (task: what it is) first.

    Tasks with equal stacks are told of once, with their number. `ours` are names of tasks to be left out.
    """
    told: dict[_Chain, list[str]] = {}
    others = 0
    for number, task in enumerate(_in_order(loop, requests)):
        if number >= _SEEN:
            others += 1
            continue
        name = task.get_name()
        chain = _chain(task)
        if name in ours or chain is None:
            continue
        what = requests.get(task, "")
        told.setdefault(chain, []).append(f"{name}: {what}" if what else name)
    lines: list[str] = []
    size = 0
    shown = 0
    for (frames, awaited), names in told.items():
        part = _part(names, frames, awaited)
        size += sum(len(line) + 1 for line in part)
        if shown >= MOST_TASKS or size > MOST_BYTES - 200:
            break
        shown += 1
        lines += part
    others += sum(len(names) for names in list(told.values())[shown:])
    if others:
        lines.append(f"... and {others} tasks more")
    return "\n".join(lines) + "\n" if lines else ""


def waiting_at(task: asyncio.Task[Any]) -> str:
    """The stack of one task, in lines, without arbiter's own frames."""
    frames, awaited = _chain(task) or ((), "")
    lines = [line for line in frames if not line.startswith(_OURS)]
    lines = lines or ["  (waiting in arbiter)"]
    return "\n".join([f"  awaits {awaited}", *lines] if awaited else lines)


def _in_order(
    loop: asyncio.AbstractEventLoop, requests: Mapping[asyncio.Task[Any], str]
) -> Iterator[asyncio.Task[Any]]:
    yield from requests
    others = [task for task in asyncio.all_tasks(loop) if task not in requests]
    yield from sorted(others, key=lambda task: (len(task.get_name()), task.get_name()))


def _part(names: list[str], frames: tuple[str, ...], awaited: str) -> list[str]:
    more = f" and {len(names) - 1} more like it" if len(names) > 1 else ""
    lines = [f"Task {names[0]}{more} (most recent call first):"]
    if awaited:
        lines.append(f"  awaits {awaited}")
    return [*lines, *frames]


def _chain(task: asyncio.Task[Any]) -> _Chain | None:
    """The frames of a task, the innermost first, and what they await; None if it is no task of anybody's."""
    frames: list[str] = []
    link: Any = task.get_coro()
    while link is not None and len(frames) < MOST_FRAMES:
        call, spare = driven_call(link)
        if spare and call is None:
            return None  # parked: it waits for its first request
        if call is not None:
            link = call
            continue
        frame = _frame(link)
        if frame is not None:
            code = frame.f_code
            frames.append(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}')
        following = _following(link)
        if following is None:
            break
        link = following
    return tuple(reversed(frames)), _end(link)


def _frame(link: Any) -> types.FrameType | None:
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        frame = getattr(link, name, None)
        if isinstance(frame, types.FrameType):
            return frame
    return None


def _following(link: Any) -> Any:
    """What a coroutine, a generator, or something that stands for one, waits for."""
    if isinstance(link, types.CoroutineType):
        return link.cr_await
    if isinstance(link, types.GeneratorType):
        return link.gi_yieldfrom
    if isinstance(link, types.AsyncGeneratorType):
        return link.ag_await
    # The objects that __anext__() of an asynchronous generator and __await__() of a coroutine make are C's.
    if type(link).__name__ in ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper"):
        kinds = (types.CoroutineType, types.AsyncGeneratorType)
        return next((found for found in gc.get_referents(link) if isinstance(found, kinds)), None)
    return None


def _end(link: Any) -> str:
    """The task or future at the end of a chain, if it is worth a word."""
    if type(link).__name__ == "FutureIter":
        link = next((one for one in gc.get_referents(link) if asyncio.isfuture(one)), None)
    if isinstance(link, asyncio.Task):
        return f"task {link.get_name()}"
    return ""
