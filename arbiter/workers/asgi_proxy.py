"""A connection that begins with a header of the PROXY protocol, before HTTP sees a byte of it.

Neighbours: `dispatch.tasks` puts it before an `HttpConnection` where the setting `proxy_protocol` and the
peer's address ask for it; `protocols.peer.proxy_protocol` reads the header. Its one rule: where a header is
expected nothing else is answered; without a well-formed one, in time, the connection closes.
"""

from __future__ import annotations

import time
from typing import Any

from arbiter.link.scoreboard import Word
from arbiter.protocols.peer.proxy_protocol import ProxyError, ProxyReader
from arbiter.workers.asgi_connection import AsgiConnection
from arbiter.workers.asgi_protocol import HttpConnection
from arbiter.workers.asgi_service import SECOND, Service
from arbiter.workers.limits import DRAIN_GRACE


class ProxiedConnection(AsgiConnection):
    """Reads the header, then gives the transport to an `HttpConnection` that knows the client."""

    __slots__ = ("_peername", "_reader")

    def __init__(self, service: Service, peername: Any) -> None:
        super().__init__(service)
        self._peername = peername
        self._reader = ProxyReader(service.proxy_mode)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.write = transport.write
        self.service.add(self)
        self.read_deadline = time.monotonic_ns() + self.service.times.header
        if self.service.draining:
            self.drain(time.monotonic_ns())

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        try:
            header = self._reader.feed(data)
        except ProxyError as error:
            peer = self._peername[0] if self._peername else "unix socket"
            self.service.log.info("closed a connection from %s: %s", peer, error, event="connection.refused")
            self.service.row.add(Word.BAD_REQUESTS)
            self.abort(str(error))
            return
        if header is None:
            return
        connection = HttpConnection(self.service, header.client or self._peername, header.server)
        self.closing = True
        self.transport.set_protocol(connection)
        self.service.replace(self, connection)
        connection.connection_made(self.transport)
        if header.rest:
            connection.data_received(header.rest)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost()

    def expire(self, now: int) -> None:
        """No header came in time."""
        self.close()

    def drain(self, now: int) -> None:
        """The worker drains: as for any connection without a request."""
        self.read_deadline = min(self.read_deadline, now + int(DRAIN_GRACE * SECOND))

    def warn(self) -> None:
        """Nobody to warn."""

    def cut(self, reason: str) -> None:
        """The worker's time is up."""
        self.abort(reason)
