"""Waiting for descriptors by poll(2): select(2) knows none above 1023, and a test may hold thousands."""

from __future__ import annotations

import select
from collections.abc import Iterable
from typing import Any


def ready(some: Iterable[Any], seconds: float, events: int = select.POLLIN) -> list[Any]:
    """Those of some sockets, descriptors or other things with a fileno() that are ready within so long."""
    poll = select.poll()
    known = {one if isinstance(one, int) else one.fileno(): one for one in some}
    for descriptor in known:
        poll.register(descriptor, events)
    return [known[descriptor] for descriptor, _ in poll.poll(seconds * 1000)]
