"""What a dispatcher is given, small enough to look into: settings, log, orders, and a worker in a thread."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from arbiter.link.scoreboard import Scoreboard
from arbiter.observe.access import AccessLog, Exchange
from arbiter.protocols.peer.forwarded import FAMILIES
from arbiter.workers.context import RequestHooks, WorkerContext
from arbiter.workers.dispatch.pool import Pool
from arbiter.workers.dispatch.turns import Turns
from arbiter.workers.orders import Orders
from tests.fakes.exchanges import Keeper

SETTINGS: dict[str, Any] = {
    "workers": 1,
    "workers_max": 0,
    "threads": 4,
    "worker_connections": 1000,
    "keepalive": 5.0,
    "header_timeout": 10.0,
    "body_timeout": 30.0,
    "body_min_rate": 240.0,
    "send_timeout": 60.0,
    "limit_request_line": 4094,
    "limit_request_fields": 100,
    "limit_request_field_size": 8190,
    "limit_request_head": 65536,
    "limit_request_body": 0,
    "limit_request_drain": 65536,
    "limit_request_pipeline": 65536,
    "limit_request_chunk_line": 1024,
    "body_spool": 1 << 20,
    "tmp_upload_dir": None,
    "sendfile": True,
    "server_header": "arbiter",
    "header_map": "drop",
    "root_path": "",
    "forwarded_allow_ips": ("127.0.0.1", "::1"),
    "secure_scheme_headers": {"X-FORWARDED-PROTO": "https"},
    "forwarded_fields": FAMILIES,
    "forwarder_headers": ("SCRIPT_NAME", "PATH_INFO"),
    "proxy_protocol": "off",
    "proxy_allow_ips": ("127.0.0.1", "::1"),
    "max_requests": 0,
    "max_requests_jitter": 0,
    "graceful_timeout": 30.0,
    "readiness_path": None,
}


def settings(**changes: Any) -> Any:
    """A Config's attributes, as far as a dispatcher reads them."""
    unknown = set(changes) - set(SETTINGS)
    assert not unknown, f"no such settings: {unknown}"
    return SimpleNamespace(**{**SETTINGS, **changes}, origin=lambda name: "a test")


class FakeLog:
    """Keeps what was logged: `records` holds (level, text, exception or None)."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, BaseException | None]] = []
        self.error_log = SimpleNamespace(handlers=[])

    def _keep(
        self, level: str, message: str, args: tuple[object, ...], exc_info: Any = None, **said: Any
    ) -> None:
        error = exc_info[1] if isinstance(exc_info, tuple) else None
        self.records.append((level, message % args if args else message, error))

    def debug(self, message: str, *args: object, **kwargs: Any) -> None:
        self._keep("debug", message, args, **kwargs)

    def info(self, message: str, *args: object, **kwargs: Any) -> None:
        self._keep("info", message, args, **kwargs)

    def warning(self, message: str, *args: object, **kwargs: Any) -> None:
        self._keep("warning", message, args, **kwargs)

    def error(self, message: str, *args: object, **kwargs: Any) -> None:
        self._keep("error", message, args, **kwargs)

    def exception(self, message: str, *args: object, **kwargs: Any) -> None:
        self._keep("error", message, args, exc_info=sys.exc_info())

    def output(self, stream: str, text: str) -> None:
        self._keep(stream, text.rstrip("\n"), ())

    def of(self, *levels: str) -> list[str]:
        """The texts of these levels."""
        return [text for level, text, _error in self.records if level in levels]


class FakeAccess(AccessLog):
    """Keeps the exchanges it is given."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        super().__init__("", Keeper(self.exchanges))


class FakeOrders(Orders):
    """Orders without signals: `obey(number)` does what a signal does, from any thread."""

    def __init__(self, graceful_timeout: float = 30.0) -> None:
        self.alone = True
        super().__init__(os.getppid(), -1, graceful_timeout, lambda: None, lambda: self.alone)

    def obey(self, number: int) -> None:
        self._note(number, None)


class FakeListener:
    """What an acceptor does to a listener before it accepts; what is accepted is said by who inherits."""

    family = socket.AF_INET

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def set_inheritable(self, flag: bool) -> None:
        assert not flag

    def setsockopt(self, *option: int) -> None:
        """What is set is seen with a real listener."""


def listen(family: socket.AddressFamily = socket.AF_INET, path: str = "") -> socket.socket:
    """A listener on a port of the kernel's choice, or on a unix socket."""
    sock = socket.socket(family)
    if family == socket.AF_UNIX:
        sock.bind(path)
    elif family == socket.AF_INET6:
        sock.bind(("::1", 0))
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    sock.setblocking(False)
    return sock


class Served:
    """A dispatcher at work in a thread of this process, over loopback or a unix socket."""

    LIMIT = 20.0
    """Seconds after which a test that waits has failed."""

    def __init__(
        self,
        kind: str,
        app: Callable[..., Any],
        *,
        listeners: list[socket.socket] | None = None,
        access: FakeAccess | None = None,
        hooks: RequestHooks | None = None,
        board: Scoreboard | None = None,
        **changes: Any,
    ) -> None:
        self.config = settings(**changes)
        self.listeners = listeners if listeners is not None else [listen()]
        self.family = self.listeners[0].family
        self.address: Any = self.listeners[0].getsockname()
        self.log = FakeLog()
        self.access = access
        self.orders = FakeOrders(self.config.graceful_timeout)
        self.board = board or Scoreboard(1)
        self.row = self.board.shared_row(0) if kind == "threaded" else self.board.row(0)
        self.retired: list[str] = []
        self.failed: list[BaseException | str] = []
        self.entered: list[str] = []
        self.ready = threading.Event()
        self.status: int | None = None
        self.failure: BaseException | None = None
        self.ctx = WorkerContext(
            config=self.config,
            app=app,
            kind="wsgi",
            listeners=[listener.dup() for listener in self.listeners],
            row=self.row,
            scoreboard=self.board,
            log=self.log,  # type: ignore[arg-type]
            access=access,  # type: ignore[arg-type]
            orders=self.orders,
            ready=self.ready.set,
            boot_failed=self.failed.append,
            retire=self.retired.append,
            enter=self.entered.append,
            hooks=hooks or RequestHooks(),
        )
        self.dispatcher: Any = {"sync": Turns, "threaded": Pool}[kind](self.ctx)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._clients: list[socket.socket] = []

    def _run(self) -> None:
        try:
            self.status = self.dispatcher.run()
        except BaseException as error:
            self.failure = error
            self.ready.set()

    def start(self) -> None:
        """Begin; not waiting until it is ready."""
        self._thread.start()

    def __enter__(self) -> Served:
        self.start()
        assert self.ready.wait(self.LIMIT)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and all that was opened for it."""
        self.orders.obey(signal.SIGQUIT)
        self.join()
        for client in self._clients:
            client.close()
        for listener in self.listeners:
            listener.close()
        self.orders.close()

    def join(self) -> None:
        """Wait for the end of `run`; raises what it raised."""
        self._thread.join(self.LIMIT)
        assert not self._thread.is_alive(), "the dispatcher does not end"
        if self.failure is not None:
            raise self.failure

    def drain(self) -> None:
        """As SIGTERM does."""
        self.orders.obey(signal.SIGTERM)

    def connect(self, receive_buffer: int = 0) -> Client:
        """A new connection."""
        sock = socket.socket(self.family)
        self._clients.append(sock)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(self.LIMIT)
        sock.connect(self.address)
        return Client(sock)

    def get(self, target: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> Reply:
        """One request on a connection of its own."""
        with self.connect() as client:
            client.request(target, *fields, method=method, version=version)
            return client.reply(method)


class Reply:
    """A response as it came: `head` is the raw head, `body` the body after its framing."""

    def __init__(self, head: bytes, body: bytes, *, complete: bool) -> None:
        self.head = head
        lines = head.split(b"\r\n")
        self.line = lines[0].decode("latin-1")
        self.status = int(self.line.split(" ")[1])
        self.fields = [
            (name.decode("latin-1").lower(), value.strip().decode("latin-1"))
            for name, _, value in (line.partition(b":") for line in lines[1:])
        ]
        self.body = body
        self.complete = complete
        """The framing says that nothing is missing."""

    def all(self, name: str) -> list[str]:
        """The values of a field."""
        return [value for key, value in self.fields if key == name]

    def get(self, name: str) -> str | None:
        """The value of a field that comes once."""
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None


class Client:
    """A blunt HTTP/1.1 client: it sends what it is told and reads one response at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._held = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(
        self,
        target: str = "/",
        *fields: str,
        method: str = "GET",
        version: str = "1.1",
        body: bytes | None = None,
        host: bool = True,
    ) -> None:
        lines = [f"{method} {target} HTTP/{version}", *fields]
        if host:
            lines.insert(1, "Host: test")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    def read(self, size: int = 65536) -> bytes:
        """What comes next, b"" at the end."""
        if self._held:
            data, self._held = self._held, b""
            return data
        return self.sock.recv(size)

    def read_all(self) -> bytes:
        """Everything up to the end of the connection; a reset counts as one."""
        parts = []
        with contextlib.suppress(ConnectionError):
            while data := self.read():
                parts.append(data)
        return b"".join(parts)

    def closed(self) -> bool:
        """The server has nothing more to say on this connection."""
        return self.read_all() == b""

    def _until(self, mark: bytes) -> bytes:
        data = b""
        while mark not in data:
            more = self.read()
            if not more:
                raise EOFError(data)
            data += more
        found, _, self._held = data.partition(mark)
        return found

    def _take(self, count: int) -> tuple[bytes, bool]:
        data, self._held = bytearray(self._held), b""
        while len(data) < count:
            try:
                more = self.read(1 << 20)
            except ConnectionError:
                more = b""
            if not more:
                return bytes(data), False
            data += more
        self._held = bytes(data[count:])
        return bytes(data[:count]), True

    def reply(self, method: str = "GET") -> Reply:
        """The next final or interim response."""
        head = self._until(b"\r\n\r\n")
        reply = Reply(head, b"", complete=True)
        if method == "HEAD" or reply.status < 200 or reply.status in (204, 304):
            return reply
        if reply.get("transfer-encoding") == "chunked":
            reply.body, reply.complete = self._chunks()
        elif (length := reply.get("content-length")) is not None:
            reply.body, reply.complete = self._take(int(length))
        else:
            try:
                while data := self.read():
                    reply.body += data
            except ConnectionError:
                reply.complete = False
        return reply

    def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        while True:
            try:
                size = int(self._until(b"\r\n"), 16)
            except (EOFError, ConnectionError):
                return body, False
            data, complete = self._take(size + 2)
            body += data[:size]
            if not complete:
                return body, False
            if not size:
                return body, True
