"""Requests that an application answers before anybody asks: what it loads on its first request is then loaded
once, in the mold, and shared.

Neighbours: a mold calls `warm_up`; the way to the application is the one that real requests take, `http1` and
the gateways, without sockets. Its one rule: an application that cannot answer these requests is not served.

An ASGI application's lifespan is started before and shut down after them, on a loop that is closed then;
every worker starts it again for itself.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from arbiter.application import Application, own_traceback
from arbiter.config.snapshot import Config
from arbiter.errors import AppError, ResponseError
from arbiter.gateways.asgi_http import HttpCycle
from arbiter.gateways.asgi_lifespan import Lifespan, Outcome
from arbiter.gateways.asgi_scope import NO_ROOT, RootPath, connection_base, http_scope
from arbiter.gateways.wsgi import Call
from arbiter.gateways.wsgi_environ import build_environ, environ_template
from arbiter.observe.lines import http_date
from arbiter.protocols.events import Request
from arbiter.protocols.http1.connection import Http1Connection, ResponseDefaults
from arbiter.workers.limits import protocol_limits

FAILED: Final = 500
"""An answer with this status or a higher one means that the application does not work."""
REFUSED: Final = 400
"""From this status on an answer is no page: what the path was to load has likely not been loaded."""
_PEER: Final = ("127.0.0.1", 0)


def warm_up(app: Application, config: Config, enter: Callable[[str], None]) -> list[str]:
    """Have the application answer every one of `warmup_paths`; `enter` is told of each.

    Returns a warning for each path that it refused (4xx), once however often the path is asked for.
    Raises `AppError` for the first that it does not answer, or answers with 500 or above.
    """
    if not config.warmup_paths:
        return []
    # The same object for the same path: it warns once.
    known = {text: Target(text) for text in config.warmup_paths}
    targets = [known[text] for text in config.warmup_paths]
    if app.kind == "wsgi":
        for target in targets:
            enter(f"warm-up {target.text}")
            _call_wsgi(app, config, target)
    else:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(_call_asgi(app, config, targets, enter))
    where = f"warmup_paths ({config.origin('warmup_paths')})"
    return [f"{where}: {target.refusal}" for target in known.values() if target.refusal]


class Target:
    """One of `warmup_paths`: a path, or a URL whose host and scheme the application is to see."""

    def __init__(self, text: str) -> None:
        url = urlsplit(text)
        self.text = text
        self.refusal = ""
        self.scheme = url.scheme or "http"
        self.host = url.netloc or "localhost"
        path = url._replace(scheme="", netloc="", fragment="").geturl()
        self.path = path if path.startswith("/") else f"/{path}"
        self.server = (url.hostname or "localhost", url.port or (443 if self.scheme == "https" else 80))

    def request(self, config: Config) -> tuple[Http1Connection, Request]:
        """A connection that has received the request, and the request."""
        defaults = ResponseDefaults(config.server_header.encode("latin-1"))
        defaults.refresh(http_date(time.time()))
        http = Http1Connection(protocol_limits(config), defaults)
        head = f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nUser-Agent: arbiter-warm-up\r\n\r\n"
        for event in http.receive(head.encode("utf-8")):
            if isinstance(event, Request):
                return http, event
        raise AppError(f"warmup_paths ({config.origin('warmup_paths')}): {self.text!r} makes no request.")

    def judge(self, status: int, errors: Sequence[BaseException]) -> None:
        """Raise `AppError` if that is no answer; `refusal` says so if it is one that gives nothing."""
        if status and status < FAILED and not errors:
            if status >= REFUSED and not self.refusal:
                hint = "; write the path as a URL to ask as another host" if status == REFUSED else ""
                self.refusal = f"GET {self.text} was answered with {status} (Host: {self.host}{hint})"
            return
        report = "".join(own_traceback(error) for error in errors)
        answer = f"was answered with {status}" if status else "was not answered"
        raise AppError(f"warm-up: GET {self.text} {answer}.", report)


# ---------------------------------------------------------------- WSGI


class _Nowhere:
    """The client's side of a WSGI call: takes everything, keeps nothing."""

    def write(self, data: bytes) -> None:
        """Take it."""

    def writelines(self, pieces: list[bytes]) -> None:
        """Take them."""

    def file_part(self, file: Any) -> None:
        """No: have it read, as it would be for a client."""

    def write_file(self, head: bytes, part: Any) -> None:
        """Never called: there are no parts."""


def _call_wsgi(app: Application, config: Config, target: Target) -> None:
    http, request = target.request(config)
    template = environ_template(
        server=target.server,
        peer=_PEER,
        scheme=target.scheme,
        root_path=config.root_path,
        errors=sys.stderr,
        multithread=config.threads > 1,
        multiprocess=max(config.workers, config.workers_max) > 1,
    )
    call = Call(http, _Nowhere())
    call.run(app.callable, build_environ(template, request, io.BytesIO()))
    faults = [error or ResponseError(what) for what, error in call.faults or ()]
    target.judge(0 if call.aborted and not faults else call.status, faults)


# ---------------------------------------------------------------- ASGI


class _Wire:
    """The client's side of an ASGI call: takes everything, keeps the faults. See `asgi_http.Wire`."""

    write_paused = False
    sends_files = False

    def __init__(self, http: Http1Connection) -> None:
        self.http = http
        self.errors: list[BaseException] = []
        self.done = False

    @property
    def write(self) -> Callable[[bytes], None]:
        return lambda data: None

    def writelines(self, pieces: list[bytes]) -> None:
        """As `write`."""

    async def drained(self) -> None:
        """Nothing is ever queued."""

    async def send_file(self, file: int, offset: int, count: int) -> None:
        """Never called: `sends_files` is false."""

    async def read_file(self, file: int, offset: int, count: int) -> bytes:
        return os.pread(file, count, offset)

    def body_taken(self) -> None:
        """There is none."""

    def response_done(self, cycle: HttpCycle) -> None:
        self.done = True
        cycle.disconnect()  # so that one who listens for the client's end does not wait for ever

    def break_off(self, cycle: HttpCycle, reason: str) -> None:
        self.errors.append(ResponseError(reason))
        cycle.lose(reason)

    def extended(self, cycle: HttpCycle, extra_ns: int) -> None:
        """There is no deadline."""

    def overdue(self, cycle: HttpCycle) -> None:
        """Never called: there is no deadline."""

    def app_failed(self, cycle: HttpCycle, error: BaseException | None) -> None:
        if not self.done:
            self.errors.append(error or ResponseError("the application returned without a complete response"))

    def app_done(self, cycle: HttpCycle) -> None:
        """Its coroutine is awaited."""


async def _call_asgi(
    app: Application, config: Config, targets: list[Target], enter: Callable[[str], None]
) -> None:
    lifespan = await _start_lifespan(app, config, enter)
    state = lifespan.state if lifespan is not None else {}
    root = RootPath(config.root_path) if config.root_path.strip("/") else NO_ROOT
    try:
        for target in targets:
            enter(f"warm-up {target.text}")
            http, request = target.request(config)
            wire = _Wire(http)
            scope = http_scope(connection_base(_PEER, target.server, target.scheme), request, root, state)
            cycle = HttpCycle(wire, http, request, scope, 0)
            await cycle.run(app.callable)
            target.judge(cycle.status, wire.errors)
    finally:
        if lifespan is not None:
            enter("warm-up: lifespan shutdown")
            await lifespan.shutdown(config.lifespan_timeout or None)


async def _start_lifespan(app: Application, config: Config, enter: Callable[[str], None]) -> Lifespan | None:
    if config.asgi_lifespan == "off":
        return None
    enter("warm-up: lifespan startup")
    lifespan = Lifespan(app.callable)
    outcome = await lifespan.startup()
    if outcome is Outcome.COMPLETE:
        return lifespan
    await lifespan.cancel()
    if outcome is Outcome.FAILED:
        message = lifespan.message or "no message was given"
        raise AppError(f"the application failed to start (lifespan.startup.failed): {message}")
    return None  # it knows no lifespan; where it must (asgi_lifespan = "on"), every worker says so
