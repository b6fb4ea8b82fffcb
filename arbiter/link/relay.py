"""How a worker wakes a sibling for a connection that it cannot take itself.

Neighbours: every scoreboard has one, so that all workers share it; `workers.accept` watches it together with
the listeners. Its one rule: it carries no more than "look at the listeners"; whoever is woken finds out what
there is.

With EPOLLEXCLUSIVE the kernel wakes one worker for a connection and considers the matter settled. A worker
that turns out to be full, or told to go, must therefore wake another one, or the connection waits until the
next one arrives. An eventfd (Linux) watched in the same manner does that. Elsewhere every idle worker is
woken for every connection, and nobody needs to be told.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

SUPPORTED: Final = hasattr(os, "eventfd")


class Relay:
    """`fd` is that of an existing relay; it is kept. Raises OSError if none can be made."""

    def __init__(self, fd: int = -1) -> None:
        if fd < 0 and SUPPORTED:
            fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.fd = fd

    def fileno(self) -> int:
        """Readable when somebody is to look; -1 where there is no such thing."""
        return self.fd

    def pass_on(self) -> None:
        """Wake one worker that watches this."""
        if self.fd >= 0:
            with contextlib.suppress(OSError):
                os.eventfd_write(self.fd, 1)

    def take(self) -> None:
        """It is this worker that was woken."""
        if self.fd >= 0:
            with contextlib.suppress(OSError):
                os.eventfd_read(self.fd)
