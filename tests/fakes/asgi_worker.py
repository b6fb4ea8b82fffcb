"""An asgi worker without an arbiter: the real dispatcher on a real loop in a thread, its surroundings
faked.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from arbiter.config.snapshot import Config
from arbiter.config.sources import Loader
from arbiter.link.scoreboard import Scoreboard
from arbiter.observe.access import AccessLog, Exchange
from arbiter.workers.context import RequestHooks, WorkerContext
from arbiter.workers.dispatch.tasks import Tasks
from arbiter.workers.orders import Stop
from tests.fakes.exchanges import Keeper

PATIENCE = 20.0
"""Seconds after which a wait in a test has failed; no test asserts how long anything takes."""


def config(**changes: Any) -> Config:
    """A configuration: the defaults, less patience where it would only make tests slow."""
    given: dict[str, Any] = {
        "app": "x:y",
        "keepalive": 60,
        "lifespan_timeout": 5,
        "websocket_close_timeout": 2,
        "websocket_ping_interval": 0,
        **changes,
    }
    return Loader(given, {}, os.getcwd()).load()


class Orders:
    """Orders given by the test."""

    def __init__(self) -> None:
        self.stop = Stop.NO
        self.last = True
        self.deadline = float("inf")
        self.last = True
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)

    def fileno(self) -> int:
        return self._read.fileno()

    def read(self) -> Stop:
        with contextlib.suppress(BlockingIOError):
            self._read.recv(100)
        return self.stop

    def give(self, stop: Stop, seconds: float = 10.0) -> None:
        self.deadline = time.monotonic() + seconds
        self.stop = stop
        self._write.send(b"!")

    def close(self) -> None:
        self._read.close()
        self._write.close()


class Log:
    """Keeps what was logged: (level, text, traceback or "")."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, str]] = []

    def _take(self, level: str, message: str, args: tuple[object, ...], exc_info: Any) -> None:
        trace = ""
        if isinstance(exc_info, BaseException):
            trace = "".join(traceback.format_exception(exc_info))
        elif exc_info:
            trace = traceback.format_exc()
        self.records.append((level, message % args if args else message, trace))

    def debug(self, message: str, *args: object, exc_info: Any = None, **said: Any) -> None:
        self._take("debug", message, args, exc_info)

    def info(self, message: str, *args: object, exc_info: Any = None, **said: Any) -> None:
        self._take("info", message, args, exc_info)

    def warning(self, message: str, *args: object, exc_info: Any = None, **said: Any) -> None:
        self._take("warning", message, args, exc_info)

    def error(self, message: str, *args: object, exc_info: Any = None, **said: Any) -> None:
        self._take("error", message, args, exc_info)

    def exception(self, message: str, *args: object, **said: Any) -> None:
        self._take("error", message, args, True)

    def at(self, *levels: str) -> list[str]:
        return [text for level, text, _ in self.records if level in levels]


class Access(AccessLog):
    """Keeps the exchanges written."""

    def __init__(self) -> None:
        self.lines: list[Exchange] = []
        super().__init__("", Keeper(self.lines))


class Worker:
    """A running worker; `connect()` gives a client's socket."""

    def __init__(
        self, app: Callable[..., Any], *, listener: socket.socket | None = None, **settings: Any
    ) -> None:
        self.config = config(**settings)
        self.listener = listener or socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = self.listener.getsockname()
        self.family = self.listener.family
        self.log = Log()
        self.access = Access()
        self.orders = Orders()
        self.row = Scoreboard(1).row(0)
        self.up = threading.Event()
        self.boot_errors: list[BaseException | str] = []
        self.retired: list[str] = []
        self.hooks = RequestHooks()
        self.status: int | None = None
        self.crash: BaseException | None = None
        self.clients: list[socket.socket] = []
        ctx = WorkerContext(
            config=self.config,
            app=app,
            kind="asgi",
            listeners=[self.listener],
            row=self.row,
            scoreboard=None,
            log=self.log,  # type: ignore[arg-type]
            access=self.access,
            orders=self.orders,  # type: ignore[arg-type]
            ready=self.up.set,
            boot_failed=self.boot_errors.append,
            retire=self.retired.append,
            hooks=self.hooks,
        )
        self.tasks = Tasks(ctx)
        self.thread = threading.Thread(target=self._run, name="asgi worker", daemon=True)

    def _run(self) -> None:
        try:
            self.status = self.tasks.run()
        except BaseException as error:
            self.crash = error
        finally:
            self.up.set()

    def start(self) -> Worker:
        self.thread.start()
        assert self.up.wait(PATIENCE), "the worker did not get ready"
        assert self.crash is None, self.crash
        return self

    def connect(self) -> socket.socket:
        client = socket.socket(self.family)
        self.clients.append(client)
        client.settimeout(PATIENCE)
        client.connect(self.address)
        return client

    def drain(self, seconds: float = 10.0) -> None:
        self.orders.give(Stop.DRAIN, seconds)

    def quit(self) -> None:
        self.orders.give(Stop.QUIT, 0.0)

    def wait(self) -> int:
        """Wait until it has ended; its status."""
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the worker did not end"
        assert self.crash is None, self.crash
        assert self.status is not None
        return self.status

    def until(self, true: Callable[[], Any]) -> None:
        """Wait until the worker has come to something that only shows in its records."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, "waited in vain"
            os.sched_yield()
            time.sleep(0.002)

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.thread.is_alive():
            self.quit()
            self.thread.join(PATIENCE)
        self.orders.close()
        self.listener.close()


@contextlib.contextmanager
def serving(app: Callable[..., Any], **settings: Any) -> Iterator[Worker]:
    """A worker that serves `app` for the length of a with block."""
    worker = Worker(app, **settings)
    try:
        yield worker.start()
    finally:
        worker.close()


class Answer:
    """One parsed response."""

    def __init__(
        self, status: int, headers: list[tuple[str, str]], body: bytes, *, ended: bool, raw: bytes
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.ended = ended
        """The body was complete by its own framing (or by the end of the connection where that is the
        framing).
        """
        self.raw = raw

    def __getitem__(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None


class Reader:
    """Reads responses from a client's socket, one after the other."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.held = bytearray()
        self.eof = False
        self.reset = False
        self.trailers: list[bytes] = []

    def _more(self) -> bool:
        try:
            data = self.client.recv(65536)
        except ConnectionResetError:
            self.reset = self.eof = True
            return False
        if not data:
            self.eof = True
            return False
        self.held += data
        return True

    def until(self, mark: bytes) -> bytes:
        while (at := self.held.find(mark)) < 0:
            assert self._more(), f"the connection ended after {bytes(self.held)!r}"
        found = bytes(self.held[:at])
        del self.held[: at + len(mark)]
        return found

    def exactly(self, count: int) -> bytes:
        while len(self.held) < count:
            assert self._more(), f"the connection ended after {bytes(self.held)!r}"
        return self._take(count)

    def _take(self, count: int) -> bytes:
        found = bytes(self.held[:count])
        del self.held[:count]
        return found

    def rest(self) -> bytes:
        while self._more():
            pass
        return self._take(len(self.held))

    def ends(self) -> bool:
        """The connection ends, and nothing more came."""
        return self.rest() == b""

    def head(self) -> tuple[int, list[tuple[str, str]], bytes]:
        raw = self.until(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        pairs = [line.partition(":")[::2] for line in lines]
        return int(first.split(" ")[1]), [(name.lower(), value.strip()) for name, value in pairs], raw

    def answer(self, method: str = "GET") -> Answer:
        status, headers, raw = self.head()
        fields = dict(headers)
        body, ended = b"", True
        if method == "HEAD" or status < 200 or status in (204, 304):
            pass
        elif fields.get("transfer-encoding") == "chunked":
            body, ended = self._chunks()
        elif "content-length" in fields:
            wanted = int(fields["content-length"])
            while len(self.held) < wanted and self._more():
                pass
            body = self._take(wanted)
            ended = len(body) == wanted
        else:
            body = self.rest()
            ended = not self.reset
        return Answer(status, headers, body, ended=ended, raw=raw)

    def _chunks(self) -> tuple[bytes, bool]:
        body = bytearray()
        while True:
            while b"\r\n" not in self.held:
                if not self._more():
                    return bytes(body), False
            length = int(self.until(b"\r\n"), 16)
            if not length:
                self.trailers = []
                while line := self.until(b"\r\n"):
                    self.trailers.append(line)
                return bytes(body), True
            while len(self.held) < length + 2:
                if not self._more():
                    return bytes(body + self.held[:length]), False
            body += self._take(length)
            self._take(2)


def request(
    target: str = "/", method: str = "GET", headers: str = "", body: bytes = b"", version: str = "1.1"
) -> bytes:
    """The bytes of a request; headers as lines that end with CRLF."""
    head = f"{method} {target} HTTP/{version}\r\nHost: test\r\n{headers}"
    if body and "content-length" not in headers.lower() and "transfer-encoding" not in headers.lower():
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode("latin-1") + b"\r\n" + body


def fetch(worker: Worker, data: bytes, method: str = "GET") -> Answer:
    """Send, read one answer, close."""
    client = worker.connect()
    client.sendall(data)
    with client:
        return Reader(client).answer(method)
