"""How one request is answered by a WSGI application, whichever thread does it.

Neighbours: `core` inherits it and feeds it complete requests; `gateways.wsgi` runs the application. Its one
rule: what is done here is done by the connection's owner, in the main thread for `turns` and in a pool
thread for `pool`; it touches the connection and counters, and of the loop only what may be touched from any
thread.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic_ns
from typing import Any, Final

from arbiter.gateways.wsgi import Call
from arbiter.gateways.wsgi_environ import (
    Environ,
    ErrorStream,
    build_environ,
    environ_template,
    mount,
    set_origin,
)
from arbiter.link.scoreboard import Word
from arbiter.observe.access import Shape
from arbiter.observe.logs import Log
from arbiter.observe.trace import about
from arbiter.protocols.events import BadRequest, Event, Request
from arbiter.protocols.fields import Refusal
from arbiter.protocols.http1.connection import Http1Connection, ResponseDefaults
from arbiter.protocols.peer.forwarded import ForwardedPolicy, Origin, TrustedPeers
from arbiter.protocols.peer.proxy_protocol import ProxyHeader, ProxyReader
from arbiter.workers.connection import (
    BODY,
    FOREVER,
    HEAD,
    PROXY,
    SERVING,
    SKIPPING,
    WAITING,
    Connection,
    Terms,
)
from arbiter.workers.context import WorkerContext
from arbiter.workers.limits import protocol_limits, time_limits

SLOW_NS: Final = 50_000_000
"""A request that took longer makes a worker that serves one at a time, and has siblings, let go of its
clients ...
"""
SHED_SECONDS: Final = 5.0
"""... for so long: an answer closes its connection, and the client's next one goes to whoever is idle."""

_REFUSED: Final = Origin(None, "", None, None, "")

_CALL: Final = Shape(
    "request, environ, call, started, ended",
    {
        "peer": "environ.get('REMOTE_ADDR')",
        "scheme": "environ.get('wsgi.url_scheme', 'http')",
        "status": "call.status",
        "sent": "call.sent",
        "headers": "call.headers",
        "aborted": "call.aborted",
    },
)
"""Where the access log finds what it needs."""


class Exchanges:
    """What requests need of a worker: the settings as plain numbers, the application, logs and counters."""

    over: bool
    """The worker leaves: what has not been answered has been cut."""

    def __init__(self, ctx: WorkerContext, *, multithread: bool) -> None:
        config = ctx.config
        self.ctx = ctx
        self.times = time_limits(config)
        self.terms = Terms(self.times, config.tmp_upload_dir, config.sendfile, ctx.row)
        self.defaults = ResponseDefaults(config.server_header.encode("latin-1"))
        self.draining = False
        self.closing = False
        """Answers close their connections: draining, no keepalive wanted, or shedding."""
        self._app = ctx.app
        self._row = ctx.row
        self._ids = ctx.request_ids
        self._log_access = ctx.access.shaped(_CALL) if ctx.access is not None else None
        self._pre_request = ctx.hooks.pre_request
        self._observed = self._log_access is not None or ctx.hooks.post_request is not None
        self._keepalive = self.times.keepalive
        self._limits = protocol_limits(config)
        self._trusted_limits = replace(
            self._limits,
            underscore_allowed=frozenset(name.lower().encode("ascii") for name in config.forwarder_headers),
        )
        self._trusted = TrustedPeers(config.forwarded_allow_ips)
        self._forwarded = ForwardedPolicy(
            self._trusted, config.secure_scheme_headers, config.forwarded_fields
        )
        self._proxy_mode = config.proxy_protocol
        self._proxies = TrustedPeers(config.proxy_allow_ips)
        self._multithread = multithread
        self._multiprocess = max(config.workers, config.workers_max) > 1
        self._root_path = config.root_path
        self._errors = ErrorStream(_errors_sink(ctx.log))
        self._bases: dict[socket.socket, Environ] = {}
        self._requests_left = _requests(config.max_requests, config.max_requests_jitter)
        self._reasons_to_retire = [f"max_requests: {config.max_requests} (+ jitter) requests served"]
        self._shed_until = 0.0
        self.serving: Connection | None = None
        """Whose request came last; with one thread, the one the application is working on."""

    # -- connections

    def new_connection(
        self, sock: socket.socket, address: Any, listener: socket.socket, now: float
    ) -> Connection:
        """Make the record of an accepted socket."""
        peer: tuple[str, int] | None = None
        if listener.family != socket.AF_UNIX:
            peer = _plain_address(address[0]), address[1]
        host = peer[0] if peer else None
        trusted = self._trusted.trusts(host)
        conn = Connection(sock, self._new_http(trusted), self.terms, now + self.times.header)
        conn.peer = host
        conn.trusted = trusted
        conn.template = self._template(sock, peer, listener)
        if self._proxy_mode != "off" and self._proxies.trusts(host):
            conn.state = PROXY
            conn.proxy = ProxyReader(self._proxy_mode)
        return conn

    def _new_http(self, trusted: bool) -> Http1Connection:
        return Http1Connection(self._trusted_limits if trusted else self._limits, self.defaults)

    def set_ends(self, conn: Connection, header: ProxyHeader) -> None:
        """Take the PROXY protocol's word for who is at either end."""
        conn.state = HEAD
        conn.proxy = None
        if header.client is None:
            return  # the proxy speaks for itself, or does not know
        template = conn.template
        conn.peer = template["REMOTE_ADDR"] = header.client[0]
        template["REMOTE_PORT"] = str(header.client[1])
        if header.server is not None:
            template["SERVER_NAME"] = header.server[0]
            template["SERVER_PORT"] = str(header.server[1])
        conn.trusted = self._trusted.trusts(conn.peer)
        conn.http = self._new_http(conn.trusted)

    def _template(
        self, sock: socket.socket, peer: tuple[str, int] | None, listener: socket.socket
    ) -> Environ:
        base = self._bases.get(listener)
        if base is None:
            base = self._base(listener)
            if base["SERVER_NAME"] in ("0.0.0.0", "::"):
                base["SERVER_NAME"] = ""
            self._bases[listener] = base
        template = base.copy()
        if peer is not None:
            template["REMOTE_ADDR"] = peer[0]
            template["REMOTE_PORT"] = str(peer[1])
            if not template["SERVER_NAME"]:  # bound to every address: which one was it?
                template["SERVER_NAME"] = _plain_address(sock.getsockname()[0])
        return template

    def _base(self, listener: socket.socket) -> Environ:
        server = None
        if listener.family != socket.AF_UNIX:
            name = listener.getsockname()
            server = name[0], name[1]
        return environ_template(
            server=server,
            peer=None,
            scheme="http",
            root_path=self._root_path,
            errors=self._errors,
            multithread=self._multithread,
            multiprocess=self._multiprocess,
        )

    def update_closing(self, now: float) -> None:
        """Decide anew whether answers close their connections."""
        shedding = self._multiprocess and not self._multithread and now < self._shed_until
        self.closing = self.draining or self._keepalive <= 0 or shedding

    def enough(self) -> None:
        """`_requests_left`, which the dispatcher counts down, has come to an end: be replaced, once."""
        self._requests_left = FOREVER
        # pop() is atomic: of two threads that come here at once, one gets the reason.
        with contextlib.suppress(IndexError):
            self.ctx.retire(self._reasons_to_retire.pop())

    # -- one request

    def answer(self, conn: Connection, request: Request, stream: Any, length: int) -> list[Event] | None:
        """Run the application; the connection's next events, None when it has to be flushed or is closed."""
        origin = None
        if request.forwarded and conn.trusted and (origin := self._origin(conn, request)) is _REFUSED:
            return None
        http = conn.http
        row = self._row
        if self._ids is not None:
            request = self._ids.assign(request, conn.trusted)
        conn.request = request
        self.serving = conn
        self._requests_left -= 1
        if self._requests_left <= 0:
            self.enough()
        started = conn.started_ns = monotonic_ns()
        lane = conn.lane = row.begin(request.method, request.target, started)
        if self.closing:
            http.keep_alive = False
        environ = build_environ(conn.template, request, stream, length)
        if conn.trusted and (origin is not None or "HTTP_SCRIPT_NAME" in environ):
            _believe(environ, origin)
        call = Call(http, conn)
        if self._pre_request is not None:
            self._before(self._pre_request, request)
        try:
            call.run(self._app, environ)
        finally:
            ended = monotonic_ns()
            row.end(call.status, started, ended, call.sent, lane)
            if conn.lingers:
                row.add(Word.FETCHING, -1)
        if self._observed:
            self._after(conn, environ, call, started, ended)
        if call.faults is not None:
            self._log_faults(conn, request, call)
        if ended - started > SLOW_NS:
            self._shed_until = ended * 1e-9 + SHED_SECONDS
            self.update_closing(ended * 1e-9)
        if conn.body is not None:
            conn.body.close()
            conn.body = None
        if call.aborted:
            self._abort(conn, request, call)
            return None
        if conn.outbox is not None:
            self.flush_later(conn, ended * 1e-9)
            return None
        if http.keep_alive and not conn.lingers:
            conn.state = WAITING
            conn.deadline = ended * 1e-9 + self._keepalive
            conn.request = None
            return http.next_request()
        return self.answered(conn, ended * 1e-9)

    def _origin(self, conn: Connection, request: Request) -> Origin | None:
        """What a trusted peer says of its client; if that breaks the rules, it has been refused."""
        try:
            return self._forwarded.resolve(request.fields, conn.peer, "http")
        except Refusal as refusal:
            if conn.lingers:
                self._row.add(Word.FETCHING, -1)
            self.refuse(conn, refusal.fault)
            return _REFUSED

    def answered(self, conn: Connection, now: float) -> list[Event] | None:
        """The whole answer is out: go on with the next request, or close in the way that fits."""
        http = conn.http
        pulled, conn.pulled = conn.pulled, None
        if not http.keep_alive:
            if conn.lingers:
                self.linger(conn)
            else:
                self.close(conn)
            return None
        if conn.lingers:
            # The body was fetched by the application, perhaps not all of it.
            conn.lingers = False
            if pulled is None or not pulled.over:
                if not http.drain_body():
                    self.linger(conn)
                    return None
                conn.state = SKIPPING
                conn.deadline = now + self.times.body
                return []
        conn.state = WAITING
        conn.deadline = now + self._keepalive
        return http.next_request()

    def _abort(self, conn: Connection, request: Request, call: Call) -> None:
        """Leave a break the client can see, whatever tells it where the answer ends."""
        if call.faults is None:
            self.ctx.log.debug("%s: %s", describe(conn), call.aborted)
        # Without Content-Length or chunks an orderly close would look like the end of the answer.
        self.close(conn, reset=request.version == "1.0" and conn.http.length_left < 0)

    def log_cut(self, conn: Connection, why: str) -> None:
        """One record for a request that was not served to its end."""
        seconds = (monotonic_ns() - conn.started_ns) / 1e9 if conn.state != BODY else 0.0
        running = f" after {seconds:.1f} s" if seconds else ""
        said = about(conn.request, conn.peer, self._ids)
        self.ctx.log.warning("cut %s%s: %s", describe(conn), running, why, event="request.cut", fields=said)
        access = self.ctx.access
        if conn.late is not None:
            self.log_late(conn, why)
        elif access is not None and conn.request is not None and conn.state in (SERVING, BODY):
            now = monotonic_ns()
            started = conn.started_ns if conn.state == SERVING else now
            access.write(conn.request, conn.peer, "http", 0, 0, started, now, (), None, why)

    def log_late(self, conn: Connection, why: str = "") -> None:
        """The line of a request whose answer had to wait for its client, now that its end is known."""
        late, conn.late = conn.late, None
        log_access = self._log_access
        if late is None or log_access is None:
            return
        environ, call = late
        if why:
            call.aborted = why
            call.sent = max(0, call.sent - (conn.outbox.left if conn.outbox is not None else 0))
        log_access(conn.request, environ, call, conn.started_ns, monotonic_ns())

    # -- what observes

    def _before(self, hook: Callable[[Request], object], request: Request) -> None:
        try:
            hook(request)
        except (Exception, SystemExit):
            self.ctx.log.exception("hook pre_request raised", event="hook.failed")

    def _after(self, conn: Connection, environ: Environ, call: Call, started: int, ended: int) -> None:
        request = conn.request
        log_access = self._log_access
        if log_access is not None and not self.over:  # a request that was cut has its line
            if conn.outbox is not None and not call.aborted:
                conn.late = environ, call  # nobody knows yet whether the client takes the rest
            else:
                log_access(request, environ, call, started, ended)
        hook = self.ctx.hooks.post_request
        if hook is not None:
            try:
                hook(request, environ, Answered(call))
            except (Exception, SystemExit):
                self.ctx.log.exception("hook post_request raised", event="hook.failed")

    def _log_faults(self, conn: Connection, request: Request, call: Call) -> None:
        """One record for each thing that went wrong, with the request and the application's traceback."""
        for what, error in call.faults or ():
            where = describe(conn)
            said = about(request, conn.peer, self._ids)
            if error is None:
                self.ctx.log.warning("%s: %s", where, what, event="request.faulty", fields=said)
                continue
            trace = error.__traceback__
            if trace is not None and trace.tb_next is not None:
                trace = trace.tb_next  # the first frame is the gateway's
            cause = (type(error), error, trace)
            self.ctx.log.error("%s: %s", where, what, exc_info=cause, event="request.failed", fields=said)

    # -- the loop's part

    def refuse(self, conn: Connection, fault: BadRequest) -> None:
        """The peer broke the protocol: see `core`."""
        raise NotImplementedError

    def flush_later(self, conn: Connection, now: float) -> None:
        """The answer is complete but not yet out: see `core`."""
        raise NotImplementedError

    def linger(self, conn: Connection) -> None:
        """Close so that the peer can still read the answer: see `core`."""
        raise NotImplementedError

    def close(self, conn: Connection, *, reset: bool = False) -> None:
        """Close a connection: see `core`."""
        raise NotImplementedError


class Answered:
    """`resp` in post_request: gunicorn's names for the parts of a response."""

    def __init__(self, call: Call) -> None:
        self.status = call.status_line or str(call.status)
        self.status_code = call.status
        self.headers: Sequence[tuple[str, str]] = call.headers
        self.sent = call.sent


def _believe(environ: Environ, origin: Origin | None) -> None:
    """Put into the environ what a trusted peer says of its client."""
    mounted = environ.get("HTTP_SCRIPT_NAME")  # let through by `forwarder_headers`, as in gunicorn
    if mounted is not None and mounted.strip("/"):
        mount(environ, "/" + mounted.strip("/"))
    if origin is not None:
        set_origin(
            environ,
            client=origin.client,
            scheme=origin.scheme,
            host=origin.host,
            port=origin.port,
            prefix=origin.prefix,
        )


def describe(conn: Connection) -> str:
    """A request for a log record: "GET /path from 10.0.0.1"."""
    request = conn.request
    peer = conn.peer or "unix socket"
    if request is None:
        return f"request from {peer}"
    target = request.target[:200].decode("ascii", "backslashreplace")
    return f"{request.method} {target} from {peer}"


def _plain_address(host: str) -> str:
    """An IPv4 peer of a dual-stack listener by its own address: ::ffff:192.0.2.1 is 192.0.2.1."""
    return host[7:] if host.startswith("::ffff:") and "." in host else host


def _requests(most: int, jitter: int) -> float:
    """After how many requests to retire; never if no number was set."""
    return most + random.randint(0, jitter) if most > 0 else FOREVER


def _errors_sink(log: Log) -> Callable[[str], object]:
    """Where wsgi.errors goes: line by line into the error log, whatever its level."""
    return lambda lines: log.output("wsgi.errors", lines)
