"""How one request's coroutine is started.

Neighbours: `asgi_service` makes one `Starter` per worker; `asgi_protocol` and `asgi_websocket` call it for
each application call. Its one rule: every application call runs in a real task, in a fresh copy of the
worker's context, from its first step on: `asyncio.current_task()`, cancellation, `asyncio.timeout`, anyio
and asgiref find what they expect, and nothing of one call is visible to the next.

Many calls never wait. Where Python has eager tasks (3.12) the first step therefore runs at once, inside the
callback that parsed the request. Python 3.11 has none, and making a task costs a tenth of a whole request;
there a task is kept *spare*: parked before its first use. The first step of a call is made in its name. If
the call is then over, the task is as it was and serves the next one; if the call waits, the task adopts it
and drives it to its end as any task would. A task that has been touched in any way (somebody kept it, named
it, cancelled it, or hung a callback on it) is never used again.

Where calls do wait, parking gains nothing: after each one that did, a growing number gets plain tasks.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import types
from asyncio.tasks import _enter_task, _leave_task  # documented: asyncio, "Extending", task lifetime support
from collections.abc import Callable, Coroutine, Generator
from sys import getrefcount
from typing import Any, Final, TypeAlias
from weakref import getweakrefcount

EAGER: Final = sys.version_info >= (3, 12)
SPARE: Final = "spare"
LONGEST_SKIP: Final = 255
"""Most calls that get plain tasks before a spare one is tried again."""

Call: TypeAlias = Coroutine[Any, Any, None]
Start: TypeAlias = Callable[[Call], "asyncio.Task[None] | None"]


class Starter:
    """Starts coroutines as tasks of `loop`.

    The context is copied from the one in which the Starter was made, never from the caller's: the caller may
    be a callback of the previous request on the same connection.
    """

    __slots__ = ("_context", "_loop", "_penalty", "_skip", "_spare")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = contextvars.copy_context()
        self._spare: _Spare | None = None
        self._skip = self._penalty = 0

    def start(self, call: Call) -> asyncio.Task[None]:
        """The task that runs `call`, from the next turn of the loop on; the caller keeps a reference to it.
        """
        return asyncio.Task(call, loop=self._loop, context=self._context.copy())

    def start_eager(self, call: Call) -> asyncio.Task[None] | None:
        """Make the first step at once; None if the call is over with it. Only from callbacks, not within a
        task.
        """
        task: asyncio.Task[None] = asyncio.Task(
            call,
            loop=self._loop,
            context=self._context.copy(),
            eager_start=True,  # type: ignore[call-arg,unused-ignore]
        )
        return None if task.done() else task

    def start_spare(self, call: Call) -> asyncio.Task[None] | None:
        """As `start_eager`, for Python 3.11: in a parked task if there is one, else in a plain one."""
        spare = self._spare
        if spare is None or self._skip:
            return self._start_plain(call)
        task, loop = spare.task, self._loop
        references = getrefcount(task)
        callbacks: Any = task._callbacks
        if (
            references != spare.references
            or getweakrefcount(task) != spare.weak_references
            or callbacks is not None
            or task.get_name() is not SPARE
            or spare.gate.done()  # also after cancel(), even if undone by uncancel()
        ):
            return self._replace(spare, call, references)
        context = self._context.copy()
        try:
            _enter_task(loop, task)
        except RuntimeError:  # called from within a task after all
            return self.start(call)
        try:
            awaited = context.run(call.send, None)
        except StopIteration:
            _leave_task(loop, task)
            self._penalty = 0
            return None
        except BaseException:
            _leave_task(loop, task)
            raise
        _leave_task(loop, task)
        self._spare = None
        self._penalty = self._skip = min(2 * self._penalty + 1, LONGEST_SKIP)
        spare.adopt(call, context, awaited)
        return task

    def _replace(self, spare: _Spare, call: Call, references: int) -> asyncio.Task[None]:
        """Start `call` plainly: the spare task is not parked yet, or no longer as it was."""
        if spare.parked and not spare.references:  # just parked: nobody can have touched it
            spare.references, spare.weak_references = references, getweakrefcount(spare.task)
        elif spare.parked:
            spare.let_go()
            self._spare = None
        return self._start_plain(call)

    def _start_plain(self, call: Call) -> asyncio.Task[None]:
        if self._skip:
            self._skip -= 1
        elif self._spare is None:
            self._spare = _Spare(self._loop)
        return self.start(call)

    @property
    def best(self) -> Start:
        """The way of starting that suits this Python."""
        return self.start_eager if EAGER else self.start_spare


class _Spare:
    """A task that waits at its gate for a call to adopt."""

    __slots__ = (
        "awaited",
        "call",
        "context",
        "gate",
        "parked",
        "references",
        "task",
        "weak_references",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.call: Call | None = None
        self.context: contextvars.Context | None = None
        self.awaited: Any = None
        self.parked = False
        self.references = self.weak_references = 0
        """How many of each there are while nobody else keeps hold of the task."""
        self.gate: asyncio.Future[None] = loop.create_future()
        self.task: asyncio.Task[None] = asyncio.Task(_wait_and_drive(self), loop=loop, name=SPARE)

    def adopt(self, call: Call, context: contextvars.Context, awaited: Any) -> None:
        """Drive `call`, whose first step ended in waiting for `awaited`."""
        self.call, self.context, self.awaited = call, context, awaited
        if not self.gate.done():
            self.gate.set_result(None)

    def let_go(self) -> None:
        """End without a call, so that whoever waits for this task is not left waiting."""
        if not self.gate.done():
            self.gate.set_result(None)


def driven_call(link: object) -> tuple[Call | None, bool]:
    """For whoever follows what a task awaits: the call that `link`, if it is the body of a spare task,
    drives, and whether it is one.
    """
    if not isinstance(link, types.GeneratorType) or link.gi_code is not _drive.__code__:
        return None, False
    frame = link.gi_frame
    return (frame.f_locals.get("call") if frame is not None else None), True


async def _wait_and_drive(spare: _Spare) -> None:
    await _drive(spare)


@types.coroutine
def _drive(spare: _Spare) -> Generator[Any, None, None]:
    """The body of a spare task: wait at the gate, then do for a call what a task does for its coroutine."""
    spare.parked = True
    error: BaseException | None = None
    try:
        yield from spare.gate
    except asyncio.CancelledError as cancelled:
        if spare.call is None:
            raise
        error = cancelled
    call, context, awaited = spare.call, spare.context, spare.awaited
    spare.call = spare.context = spare.awaited = None
    if call is None or context is None:
        return
    if error is not None and awaited is not None and awaited.cancel(*error.args):
        error = None  # as Task.cancel(): what is awaited is cancelled, and tells the coroutine
    while True:
        if error is None:
            try:
                yield awaited
            except BaseException as thrown:
                error = thrown
        try:
            if error is None:
                awaited = context.run(call.send, None)
            else:
                thrown_in, error = error, None
                awaited = context.run(call.throw, thrown_in)
        except StopIteration:
            return
