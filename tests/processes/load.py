"""Steady load that accounts for every request it made.

ok         200 and a whole body, as long as it said
refused    the connection was refused
reset      broken on a fresh connection, or amid an answer
early      ended by the server on a fresh connection, or amid an answer
dropped    a kept connection ended after the request was sent and before any byte of the answer
timeout    no whole answer by the deadline
status     a whole answer with another status than 200

A kept connection found closed before the request is sent is no loss: as any good client does, the user
connects anew. Each loss knows its connection, so that whoever killed a worker can tell whether it was there.
"""

from __future__ import annotations

import collections
import re
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType

from tests.ready import ready

TIMEOUT = 20.0
MOST_REQUESTS = 50_000
"""What one user will ask for at most; a load that nobody stops ends by itself."""


class _Ended(Exception):
    """The connection ended where an answer should be; carries whether some of the answer had come."""


@dataclass(frozen=True)
class Loss:
    """A request that was not answered as it should be."""

    outcome: str
    detail: str
    port: int
    """The client's end of its connection; 0 if there was none."""
    connected: float
    at: float
    """When that connection was made and when the request was given up (monotonic s)."""

    def __str__(self) -> str:
        return f"{self.outcome}: port {self.port}, {self.at - self.connected:.3f} s old, {self.detail}"


class _Connection:
    """A user's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.connected = time.monotonic()
        name = sock.getsockname()
        self.port = name[1] if isinstance(name, tuple) else 0

    def close(self) -> None:
        self.sock.close()


class Load:
    """`users` threads, each with a request at a time, until `stop`.

    keepalive: keep connections, or ask for each to be closed. pause: seconds between a user's requests.
    to_the_end: a user whose connection is refused leaves, and that is no loss: the server has stopped.
    """

    def __init__(
        self,
        address: tuple[str, int] | str,
        users: int = 4,
        *,
        keepalive: bool,
        path: str = "/",
        pause: float = 0.008,
        to_the_end: bool = False,
    ) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.losses: list[Loss] = []
        self.pids: collections.Counter[int] = collections.Counter()
        self._address = address
        self._keepalive = keepalive
        connection = "keep-alive" if keepalive else "close"
        self._request = f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n".encode()
        self._pause = pause
        self._to_the_end = to_the_end
        self._stop = threading.Event()
        self._news = threading.Condition()
        self._threads = [threading.Thread(target=self._user, daemon=True) for _ in range(users)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End after the requests under way; then `counts` is final."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT)
            assert not thread.is_alive(), "a user of the load hangs"

    def wait_ok(self, more: int, timeout: float = 60.0) -> None:
        """Wait for that many further good answers, or the first loss."""
        end = time.monotonic() + timeout
        with self._news:
            goal = self.counts["ok"] + more
            while self.counts["ok"] < goal and not self.lost:
                left = end - time.monotonic()
                assert left > 0, f"fewer than {more} good answers in {timeout:g} s: {dict(self.counts)}"
                self._news.wait(left)

    @property
    def sent(self) -> int:
        """Requests made so far."""
        return sum(self.counts.values())

    @property
    def lost(self) -> int:
        """Requests that were not answered as they should be."""
        return sum(count for outcome, count in self.counts.items() if outcome != "ok")

    def verdict(self) -> str:
        """The account in one line, for a failed assertion."""
        return f"{dict(self.counts)} {[str(loss) for loss in self.losses[:5]]}"

    # ---- a user

    def _user(self) -> None:
        kept: _Connection | None = None
        try:
            for _ in range(MOST_REQUESTS):
                if self._stop.wait(self._pause):
                    break
                kept, outcome, told = self._ask(kept)
                if self._to_the_end and outcome == "refused":
                    break
                with self._news:
                    self.counts[outcome] += 1
                    if isinstance(told, Loss):
                        self.losses.append(told)
                    elif told:
                        self.pids[told] += 1
                    self._news.notify_all()
        finally:
            if kept is not None:
                kept.close()

    def _ask(self, kept: _Connection | None) -> tuple[_Connection | None, str, Loss | int]:
        """One request: the connection if usable again, the outcome, and the worker's pid or the loss."""
        if kept is not None and ready([kept.sock], 0):
            # Readable without a request: closed by the server (or talking out of turn, which is as bad).
            kept.close()
            kept = None
        fresh = kept is None
        answer = bytearray()
        connection = kept
        try:
            connection = connection or self._connect()
            connection.sock.sendall(self._request)
            status, body, keep = _read_answer(connection.sock, answer)
        except ConnectionRefusedError as error:
            outcome, detail = "refused", str(error)
        except TimeoutError:
            outcome, detail = "timeout", f"after {bytes(answer[:80])!r}"
        except _Ended:
            outcome, detail = (
                ("early" if fresh or answer else "dropped"),
                f"fresh={fresh} {bytes(answer[:80])!r}",
            )
        except (ConnectionResetError, BrokenPipeError) as error:
            outcome, detail = ("reset" if fresh or answer else "dropped"), f"fresh={fresh} {error}"
        else:
            if status == 200:
                found = re.search(rb"pid=(\d+)", body)
                if keep and self._keepalive:
                    return connection, "ok", int(found[1]) if found else 0
                connection.close()
                return None, "ok", int(found[1]) if found else 0
            outcome, detail = f"status {status}", repr(body[:80])
        now = time.monotonic()
        if connection is None:
            return None, outcome, Loss(outcome, detail, 0, now, now)
        connection.close()
        return None, outcome, Loss(outcome, detail, connection.port, connection.connected, now)

    def _connect(self) -> _Connection:
        if isinstance(self._address, str):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(TIMEOUT)
            sock.connect(self._address)
        else:
            sock = socket.create_connection(self._address, timeout=TIMEOUT)
        return _Connection(sock)


def _read_answer(connection: socket.socket, answer: bytearray) -> tuple[int, bytes, bool]:
    """Return status, body and whether the connection may be used again; what came in is left in `answer`."""

    def more() -> None:
        data = connection.recv(65536)
        if not data:
            raise _Ended
        answer.extend(data)

    while (end := answer.find(b"\r\n\r\n")) < 0:
        more()
    head = bytes(answer[:end]).split(b"\r\n")
    status = int(head[0].split(b" ", 2)[1])
    fields = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head[1:])
    }
    keep = fields.get(b"connection", b"").lower() != b"close" and head[0].startswith(b"HTTP/1.1")
    at = end + 4
    if b"content-length" in fields:
        last = at + int(fields[b"content-length"])
        while len(answer) < last:
            more()
        return status, bytes(answer[at:last]), keep
    body = b""
    while True:
        while (line_end := answer.find(b"\r\n", at)) < 0:
            more()
        size = int(bytes(answer[at:line_end]).split(b";")[0], 16)
        while len(answer) < line_end + 4 + size:
            more()
        body += answer[line_end + 2 : line_end + 2 + size]
        at = line_end + 4 + size
        if not size:
            return status, body, keep
