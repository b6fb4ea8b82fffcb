"""What all connections of an asgi worker share.

Neighbours: `dispatch.tasks` makes it and turns its clock; `asgi_protocol` and `asgi_websocket` read it on
every request. Its one rule: settings are turned into plain numbers here, once, so that a request looks
nothing up.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from arbiter.config.snapshot import Config
from arbiter.counted import counted
from arbiter.gateways.asgi_http import Application, HttpCycle
from arbiter.gateways.asgi_scope import NO_ROOT, RootPath
from arbiter.gateways.asgi_websocket import WebSocketCycle
from arbiter.observe.access import Shape
from arbiter.observe.lines import http_date
from arbiter.protocols.events import Request
from arbiter.protocols.http1.connection import ResponseDefaults
from arbiter.protocols.peer.forwarded import ForwardedPolicy, TrustedPeers
from arbiter.workers.context import WorkerContext
from arbiter.workers.dispatch.start import Starter
from arbiter.workers.limits import protocol_limits, time_limits

SECOND: Final = 1_000_000_000
NEVER: Final = 1 << 62
"""A deadline (monotonic ns) that does not come."""


_CYCLE: Final = Shape(
    "cycle, ended",
    {
        "request": "cycle.request",
        "peer": "client[0] if (client := cycle.scope['client']) else None",
        "scheme": "cycle.scope['scheme']",
        "status": "cycle.status",
        "sent": "cycle.sent",
        "started": "cycle.started_ns",
        "headers": "cycle.headers",
        "environ": "None",
        "aborted": "cycle.aborted",
    },
)
"""Where the access log finds what it needs."""


class Times:
    """The time limits in monotonic nanoseconds; NEVER where there is none. Body rate in bytes per window."""

    __slots__ = ("body", "body_window", "header", "keepalive", "request", "send")

    def __init__(self, config: Config) -> None:
        limits = time_limits(config)
        self.keepalive = _nanoseconds(limits.keepalive)
        self.header = _nanoseconds(limits.header)
        self.body = _nanoseconds(limits.body)
        self.send = _nanoseconds(limits.send)
        self.request = _nanoseconds(float(config.request_timeout) or float("inf"))
        bounded = self.body < NEVER and limits.body_rate > 0
        self.body_window = int(limits.body_rate * limits.body) if bounded else 0
        """Bytes that must come within each `body` of reading."""


class WebSocketSettings:
    """The `websocket_*` settings; sizes in bytes, times in seconds (0 = off)."""

    __slots__ = ("close_timeout", "compression", "max_message_size", "ping_interval", "ping_timeout")

    def __init__(self, config: Config) -> None:
        self.max_message_size = int(config.websocket_max_message_size)
        self.ping_interval = float(config.websocket_ping_interval)
        self.ping_timeout = float(config.websocket_ping_timeout)
        self.compression = bool(config.websocket_compression)
        self.close_timeout = float(config.websocket_close_timeout)


class Connection(Protocol):
    """What the worker asks of any of its connections, HTTP or WebSocket."""

    read_deadline: int
    write_deadline: int

    def expire(self, now: int) -> None:
        """One of the deadlines lies before `now`."""

    def drain(self, now: int) -> None:
        """The worker drains: end as soon as it is polite."""

    def warn(self) -> None:
        """The end is near: let the application know."""

    def cut(self, reason: str) -> None:
        """End now."""


Cycle = HttpCycle | WebSocketCycle


class Service:
    """The worker's state as its connections see it."""

    def __init__(self, ctx: WorkerContext, loop: asyncio.AbstractEventLoop) -> None:
        config = ctx.config
        self.ctx = ctx
        self.loop = loop
        self.app: Application = ctx.app
        self.row = ctx.row
        self.log = ctx.log
        self.access = ctx.access
        self.log_access = ctx.access.shaped(_CYCLE) if ctx.access is not None else None
        """The access log, called with a cycle and the time of its end."""
        self.request_ids = ctx.request_ids
        self.limits = protocol_limits(config)
        self.trusted_limits = replace(
            self.limits,
            underscore_allowed=frozenset(name.lower().encode("ascii") for name in config.forwarder_headers),
        )
        self.trusted = TrustedPeers(config.forwarded_allow_ips)
        self.forwarded = ForwardedPolicy(self.trusted, config.secure_scheme_headers, config.forwarded_fields)
        self.proxy_mode = config.proxy_protocol
        self.proxies = TrustedPeers(config.proxy_allow_ips)
        self.times = Times(config)
        self.websocket = WebSocketSettings(config)
        self.defaults = ResponseDefaults(config.server_header.encode("latin-1"))
        self.root = RootPath(config.root_path) if config.root_path.strip("/") else NO_ROOT
        self.state: dict[str, Any] = {}
        """The lifespan state; every scope gets a shallow copy."""
        self.sendfile = bool(config.sendfile)
        self.start = Starter(loop).best
        self.gathers = type(loop).__module__.partition(".")[0] == "uvloop"
        """Several pieces are better written at once than joined."""
        hooks = ctx.hooks
        self.observed = bool(hooks.pre_request or hooks.post_request or config.max_requests)
        """Somebody wants to know of every request besides scoreboard and access log."""
        self.connections: set[Connection] = set()
        self.opening: set[Connection] = set()
        """Accepted, and still without a transport."""
        self.running: set[Cycle] = set()
        """Application calls that have not returned; also what keeps their tasks alive."""
        self.draining = False
        self.cutting = False
        """The time is up: application calls are being cancelled."""
        self.keeps_alive = self.times.keepalive > 0
        """Whether a connection may serve another request after the one that begins now."""
        self.http_only = False
        """The application has said that it does not serve WebSockets, and the log too."""
        self.now = time.monotonic_ns()
        """As of the last tick, at most a second old while there are connections."""
        self.changed: asyncio.Event = asyncio.Event()
        """Set when a connection or an application call has ended and the worker drains."""
        self._requests = 0
        self._retire_at = (
            config.max_requests + random.randint(0, config.max_requests_jitter) if config.max_requests else 0
        )
        self.room_again: Any = None
        """Called when a connection has ended (the acceptor may have been waiting for room)."""

    # ------------------------------------------------------------------ clock

    def tick(self) -> int:
        """Read the clock, and renew the Date that responses carry."""
        self.now = time.monotonic_ns()
        self.defaults.refresh(http_date(time.time()))
        self.row.beat(self.now)
        return self.now

    def expire(self) -> None:
        """Let every connection with a deadline in the past act on it."""
        now = self.now
        for connection in tuple(self.connections):
            if connection.read_deadline <= now or connection.write_deadline <= now:
                try:
                    connection.expire(now)
                except Exception:  # one connection's trouble must not stop the clock
                    self.log.exception("a connection could not be ended", event="connection.failed")
                    self.remove(connection)

    def expire_requests(self) -> float:
        """End what takes longer than `request_timeout`; seconds until the next look."""
        limit = left = self.times.request
        if limit < NEVER:
            for cycle in self.running.copy():
                if isinstance(cycle, HttpCycle):
                    left = min(left, cycle.expire(limit, self.now) or limit)
        return left / SECOND

    # ------------------------------------------------------------------ book-keeping

    def load(self) -> int:
        """How many connections the worker has, from the moment of their acceptance."""
        return len(self.connections) + len(self.opening)

    def expect(self, connection: Connection) -> None:
        """A connection was accepted."""
        self.opening.add(connection)
        self.row.connections(self.load())

    def add(self, connection: Connection) -> None:
        """A connection was opened."""
        self.opening.discard(connection)
        self.connections.add(connection)
        self.row.connections(self.load())

    def remove(self, connection: Connection) -> None:
        """A connection has ended."""
        self.opening.discard(connection)
        self.connections.discard(connection)
        self.row.connections(self.load())
        if self.room_again is not None:
            self.room_again()
        if self.draining:
            self.changed.set()

    def replace(self, old: Connection, new: Connection) -> None:
        """An HTTP connection became a WebSocket."""
        self.connections.discard(old)
        self.connections.add(new)

    def call_ended(self, cycle: Cycle) -> None:
        """An application call has returned."""
        self.running.discard(cycle)
        if self.draining:
            self.changed.set()

    def count_request(self) -> None:
        """One more request was answered; asks for retirement, once, when `max_requests` is reached."""
        self._requests += 1
        if self._requests == self._retire_at:
            self.ctx.retire(f"it has answered {counted(self._requests, 'request')} (max_requests)")

    # ------------------------------------------------------------------ access log

    def write_access(
        self,
        request: Request,
        scope: dict[str, Any],
        status: int,
        sent: int,
        started_ns: int,
        ended_ns: int,
        headers: Sequence[tuple[bytes, bytes]] = (),
        aborted: str = "",
    ) -> None:
        """The access log's line of one exchange; only called when there is an access log."""
        client = scope.get("client")
        peer, scheme = client[0] if client else None, scope.get("scheme", "http")
        self.access.write(  # type: ignore[union-attr]
            request, peer, scheme, status, sent, started_ns, ended_ns, headers, None, aborted
        )


def _nanoseconds(seconds: float) -> int:
    return int(seconds * SECOND) if seconds < NEVER / SECOND else NEVER
