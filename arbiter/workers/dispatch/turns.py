"""The sync kind: one request at a time, in the main thread.

Neighbours: a `Core` whose `serve` calls the application then and there. Its one rule: the application is
never called inside a running event loop (Django's ORM and asyncio.run() refuse to work there) and never
waits for a peer: a request is complete before it is called, and its answer leaves at the client's pace
afterwards.
"""

from __future__ import annotations

import socket
import time
from typing import Any, Final

from arbiter.deadline import CURRENT
from arbiter.workers.connection import Connection
from arbiter.workers.context import WorkerContext
from arbiter.workers.core import Core

QUICK: Final = 0.005
"""Seconds; when serving a new connection took longer, the next ones are left to an idle sibling."""


class Turns(Core):
    """Requests take turns."""

    def __init__(self, ctx: WorkerContext) -> None:
        super().__init__(ctx, multithread=False)
        ctx.orders.leaving = self._told_to_leave

    def run(self) -> int:
        """As `Core.run`."""
        CURRENT.set(self)
        return super().run()

    def extend(self, seconds: float) -> bool:
        """As `deadline.Extendable.extend`, for the request whose turn it is."""
        conn = self.serving
        return conn is not None and self._row.extend(conn.lane, conn.started_ns, int(seconds * 1e9))

    serve = Core.answer
    """Then and there."""

    def watch_connection(self, conn: Connection, mask: int) -> None:
        """Level-triggered: a system call only when what to wait for changes."""
        if conn.mask != mask:
            if conn.mask:
                self.poller.modify(conn.fd, mask)
            else:
                self.poller.register(conn.fd, mask)
            conn.mask = mask

    def _told_to_leave(self) -> None:
        """A signal, perhaps in the middle of the application: the answer it makes is its client's last."""
        self.closing = True
        conn = self.serving
        if conn is not None and not conn.http.head_sent:
            conn.http.keep_alive = False

    def adopt(self, sock: socket.socket, address: Any, listener: socket.socket) -> bool:
        """As `Core.adopt`; another one may follow only if this one did not take long."""
        began = time.monotonic()
        super().adopt(sock, address, listener)
        return time.monotonic() - began < QUICK
