"""More time for the request that is being answered.

Neighbours: applications call `extend_deadline` (as `arbiter.extend_deadline`); each worker kind says in
`CURRENT` which request a piece of code runs for. Its one rule: it never fails a request that would have been
answered without it; where there is no deadline it does nothing and says so.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import Final, Protocol


class Extendable(Protocol):
    """A request in work."""

    def extend(self, seconds: float) -> bool:
        """Move its deadline by so many seconds; False if it is over. May be called from any thread."""
        ...


CURRENT: Final[ContextVar[Extendable | None]] = ContextVar("arbiter.request", default=None)
"""The request for which the code of this context runs; tasks and threads that take the context along
(asyncio, asgiref, `asyncio.to_thread`) find it, too.
"""


def extend_deadline(seconds: float) -> bool:
    """Give the current request `seconds` more until `request_timeout` or `timeout`, and `slow_request`.

    For a view that knows that it takes long (an export, an upload to elsewhere), so that the limits can be
    tight for all others. It can be called again. Works in sync, threaded and asgi workers, in the view, in
    what it awaits, and in threads that asgiref or `asyncio.to_thread` start for it.

    Returns whether there is a request whose deadline was moved: not so in a management command, in a test,
    in a WebSocket, under another server. Raises ValueError for a negative or infinite number.
    """
    if not (seconds >= 0 and math.isfinite(seconds)):
        raise ValueError(f"extend_deadline() takes a number of seconds from 0 on, not {seconds!r}")
    request = CURRENT.get()
    return request is not None and request.extend(seconds)
