"""The stacks of asyncio's tasks, written down when a dump is asked for.

Neighbours: `process` calls it from the handler of the dump's signal, after faulthandler has written the
threads; `supervisor.dumps` hands the text out. Its one rule: a worker without an event loop pays nothing,
not even the import of asyncio; whatever goes wrong here, the worker goes on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

MOST_TASKS: Final = 200
MOST_BYTES: Final = 32 * 1024
DEEPEST: Final = 50
"""Coroutines that await each other, of one task."""


def write(fd: int) -> None:
    """Append the stacks of all tasks of the running loop to `fd`; nothing if there is none."""
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is None:
        return
    try:
        loop = asyncio._get_running_loop()
        if loop is None:
            return
        tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
        text = "".join(_task(task) for task in tasks[:MOST_TASKS])
        if len(tasks) > MOST_TASKS:
            text += f"... and {len(tasks) - MOST_TASKS} more tasks\n"
        os.write(fd, text.encode("utf-8", "backslashreplace")[:MOST_BYTES])
    except Exception:
        return  # the threads are written; the worker must not suffer for being looked at


def _task(task: Any) -> str:
    """In faulthandler's notation: the innermost frame first."""
    frames = list(_frames(task.get_coro()))
    lines = [
        f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}'
        for frame in reversed(frames)
    ]
    return "\n".join(["", f"Task {task.get_name()} (most recent call first):", *lines, ""])


def _frames(awaited: Any) -> Iterator[FrameType]:
    """From the task's own coroutine down to what it waits for."""
    for _ in range(DEEPEST):
        for prefix, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(awaited, f"{prefix}_frame", None)
            if frame is not None:
                yield frame
                awaited = getattr(awaited, inner, None)
                break
        else:
            return
