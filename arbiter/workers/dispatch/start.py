"""How one request's coroutine is started.

Neighbours: `tasks` makes one `Starter` per worker, `asgi_protocol` and `asgi_websocket` call it for each
application call. Its one rule: every application call runs in a real task of its own, in a fresh copy of
the worker's context, from its first step on: `asyncio.current_task()`, cancellation, `asyncio.timeout`,
anyio and asgiref find what they expect.

Where Python has eager tasks (3.12), the first step runs at once, inside the callback that parsed the
request: an application that never waits is answered without a turn of the loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Coroutine
from typing import Any, Final

EAGER: Final = sys.version_info >= (3, 12)


class Starter:
    """Starts coroutines as tasks of `loop`.

    The context is copied from the one in which the Starter was made, never from the caller's: the caller may
    be the task of the previous request on the same connection.
    """

    __slots__ = ("_context", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = contextvars.copy_context()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """The task that runs `coroutine`; the caller keeps a reference to it while it runs."""
        return asyncio.Task(coroutine, loop=self._loop, context=self._context.copy())

    if EAGER:

        def start_eagerly(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            """As `start`, but the first step is made before this returns.

            Only from a callback of the loop, never from within a task: one thing at a time is current.
            """
            return asyncio.Task(
                coroutine,
                loop=self._loop,
                context=self._context.copy(),
                eager_start=True,  # type: ignore[call-arg,unused-ignore]
            )

    else:
        start_eagerly = start
