"""Metrics and health over HTTP, answered by the arbiter itself: /metrics, /livez, /readyz, /startupz.

Neighbours: `service` holds the connections, `protocols.http1` reads and frames, `readings` and `view` know
the answers. Its one rule: whatever hangs, this answers: it asks no worker, and every cost is bounded.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

from arbiter.counted import counted
from arbiter.observe.lines import http_date
from arbiter.observe.metrics import OPENMETRICS, PLAIN, Reading, render
from arbiter.protocols.events import BadRequest, Event, Request
from arbiter.protocols.http1.connection import Http1Connection, ResponseDefaults
from arbiter.protocols.limits import Limits
from arbiter.supervisor import events as ev
from arbiter.supervisor import readings
from arbiter.supervisor.book import FOREVER, Phase
from arbiter.supervisor.service import Bounds, Connection, Service
from arbiter.supervisor.view import View
from arbiter.supervisor.watch import Watch

BOUNDS: Final = Bounds(
    connections=128,
    out=4 << 20,
    out_all=8 << 20,
    stalled=10.0,
    farewell=b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
)
LIMITS: Final = Limits(request_line=1024, fields=50, field_size=2048, head=8192, pipeline=4096)
FIRST: Final = 5.0
"""Seconds in which a request must have come whole."""
IDLE: Final = 75.0
"""Seconds between two requests of one connection; more than a scraper's usual interval."""
IN_A_ROW: Final = 4
"""Pipelined requests that are answered before the connection is closed."""
FRESH: Final = 0.2
"""Seconds for which one reading serves whoever asks."""
_TEXT: Final = b"text/plain; charset=utf-8"


class Exporter:
    """See the module's text. `clock` gives monotonic seconds."""

    def __init__(
        self,
        watch: Watch,
        view: View,
        clock: Callable[[], float],
    ) -> None:
        self._service: Service | None = None
        self._watch = watch
        self._view = view
        self._clock = clock
        self._reading = Reading()
        self._read_at = -FRESH
        self._pages: dict[bytes, Callable[[bool], tuple[int, bytes, bytes]]] = {
            b"/metrics": self._metrics,
            b"/livez": self._live,
            b"/readyz": self._ready,
            b"/startupz": self._started,
            b"/": self._index,
        }

    def serve(self, listener: socket.socket) -> None:
        """Answer on this listening socket, too."""
        self._service = Service(self._watch, listener, BOUNDS, self._greet, self._clock)

    @property
    def due(self) -> float:
        """When to call `look` (monotonic s)."""
        return self._service.due if self._service else FOREVER

    def look(self, now: float) -> None:
        """Time has passed."""
        if self._service is not None:
            self._service.look(now)

    def stop(self) -> None:
        """Close everything."""
        if self._service is not None:
            self._service.stop()
            self._service = None

    def hand_over(self) -> list[tuple[int, bytes]]:
        """The connections between two requests: descriptors, and what is still to be sent on them."""
        connections = self._service.connections() if self._service else []
        return [
            (one.sock.fileno(), bytes(one.out))
            for one in connections
            if isinstance(one.handler, _Visitor) and one.handler.idle
        ]

    def adopt(self, listener: socket.socket, connections: Iterable[tuple[int, bytes]]) -> None:
        """Serve on where another arbiter has stopped."""
        self.serve(listener)
        assert self._service is not None
        for fd, out in connections:
            self._service.adopt(fd, out)

    def abandon(self) -> None:
        """In a forked child: none of it is its own."""
        if self._service is not None:
            self._service.abandon()

    def metrics(self, *, openmetrics: bool = False) -> str:
        """All metrics as text, at most `FRESH` old."""
        now = self._clock()
        if now - self._read_at >= FRESH:
            self._reading, self._read_at = readings.read(self._view, now), now
        return render(self._reading, openmetrics=openmetrics)

    def page(self, path: bytes, openmetrics: bool) -> tuple[int, bytes, bytes] | None:
        """Status, type and body of a page; None if there is none."""
        make = self._pages.get(path)
        return make(openmetrics) if make else None

    def _greet(self, connection: Connection, now: float) -> _Visitor:
        connection.deadline = now + FIRST
        return _Visitor(self, connection, self._clock)

    # -- the pages

    def _metrics(self, openmetrics: bool) -> tuple[int, bytes, bytes]:
        text = self.metrics(openmetrics=openmetrics).encode()
        return 200, (OPENMETRICS if openmetrics else PLAIN).encode(), text

    def _live(self, openmetrics: bool) -> tuple[int, bytes, bytes]:
        """The loop turns, or nobody would answer."""
        lines = ["live"]
        for child in self._view.book.serving():
            held = self._view.held(child.pid)
            if held:
                lines.append(f"{child.name} is {held}")
        return 200, _TEXT, "\n".join([*lines, ""]).encode()

    def _ready(self, openmetrics: bool) -> tuple[int, bytes, bytes]:
        serving, why = self._view.readiness()
        text = f"not ready: {why}" if why else f"ready: {counted(serving, 'worker')}"
        return 503 if why else 200, _TEXT, f"{text}\n".encode()

    def _started(self, openmetrics: bool) -> tuple[int, bytes, bytes]:
        if self._view.book.phase is Phase.STARTING:
            return 503, _TEXT, b"starting\n"
        return 200, _TEXT, b"started\n"

    def _index(self, openmetrics: bool) -> tuple[int, bytes, bytes]:
        return 200, _TEXT, b"arbiter: /metrics /livez /readyz /startupz\n"


class _Visitor:
    """One HTTP connection."""

    precious = False

    def __init__(self, exporter: Exporter, connection: Connection, clock: Callable[[], float]) -> None:
        self._exporter = exporter
        self._connection = connection
        self._clock = clock
        self._http = Http1Connection(LIMITS, ResponseDefaults(b"arbiter", http_date(time.time())))

    @property
    def idle(self) -> bool:
        """Nothing of a request has been read that is not answered."""
        return not self._http.mid_head

    def received(self, data: bytes) -> Iterable[ev.Event]:
        """Answer what is complete. Only what has no body is."""
        events: list[Event] = self._http.receive(data)
        for _ in range(IN_A_ROW):
            if not events:
                break
            events = self._answer(events[0])
            if self._connection.closed or self._connection.closing:
                return ()
        if events:
            self._connection.finish()
        return ()

    def ended(self) -> None:
        """The connection is closed."""

    def _answer(self, event: Event) -> list[Event]:
        http = self._http
        if isinstance(event, BadRequest):
            self._connection.send(http.refuse(event))
        elif not isinstance(event, Request) or not event.ended:
            self._connection.send(http.error(413))
        else:
            status, type, body = self._find(event)
            allow = [(b"allow", b"GET, HEAD")] if status == 405 else []
            http.respond(status, [(b"content-type", type), (b"cache-control", b"no-store"), *allow])
            self._connection.send(http.body(body, more=False))
        if not http.keep_alive:
            self._connection.finish()
            return []
        self._connection.deadline = self._clock() + IDLE
        return http.next_request()

    def _find(self, request: Request) -> tuple[int, bytes, bytes]:
        if request.method not in ("GET", "HEAD"):
            return 405, _TEXT, b"only GET and HEAD\n"
        accepts = [field.pair[1] for field in request.fields if field.pair[0].lower() == b"accept"]
        openmetrics = any(b"application/openmetrics-text" in value for value in accepts)
        page = self._exporter.page(request.path, openmetrics)
        return page or (404, _TEXT, b"not here; see /\n")
