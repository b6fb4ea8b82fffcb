"""A client that says exactly the bytes it is told to, and reads answers as strictly as it can.

Every wait has a deadline; nothing here sleeps.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from dataclasses import dataclass, field

DEADLINE = 30.0

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]+)")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([\t\x20-\x7e\x80-\xff]*)")


class Malformed(AssertionError):
    """The server sent what is no HTTP/1.1 answer."""


class Cut(Exception):
    """The connection ended within an answer, or with a reset; `data` is what had come."""

    def __init__(self, how: str, data: bytes) -> None:
        super().__init__(f"{how} after {data[-200:]!r}")
        self.how = how
        self.data = data


@dataclass
class Answer:
    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    interim: list[int] = field(default_factory=list)
    """The statuses of the 1xx answers before it."""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        return (self.get("connection") or "").lower() == "close"


class Client:
    """One connection."""

    def __init__(
        self, address: tuple[str, int] | str, *, receive_buffer: int = 0, timeout: float = DEADLINE
    ) -> None:
        self.sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.sock.settimeout(timeout)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect(address)
        if not isinstance(address, str):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = bytearray()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    # ---- saying

    def send(self, data: bytes) -> Client:
        self.sock.sendall(data)
        return self

    def trickle(self, data: bytes) -> Client:
        """Send byte by byte; a server that has heard enough may have closed before the last one."""
        try:
            for at in range(len(data)):
                self.sock.sendall(data[at : at + 1])
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def get(self, target: str, *fields: str) -> Answer:
        lines = [f"GET {target} HTTP/1.1", "Host: test", *fields, "", ""]
        return self.send("\r\n".join(lines).encode("latin-1")).answer()

    def half_close(self) -> Client:
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """Close with RST."""
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # ---- hearing

    def _more(self) -> None:
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            raise Cut("reset", bytes(self._held)) from None
        if not data:
            raise Cut("end", bytes(self._held))
        self._held += data

    def line(self) -> bytes:
        while (end := self._held.find(b"\r\n")) < 0:
            if len(self._held) > 1 << 20:
                raise Malformed(f"no line in {bytes(self._held[:200])!r}")
            self._more()
        taken = bytes(self._held[:end])
        del self._held[: end + 2]
        return taken

    def take(self, count: int) -> bytes:
        while len(self._held) < count:
            self._more()
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def answer(self, method: str = "GET") -> Answer:
        """The next final answer, read by the rules of RFC 9112 6.3."""
        interim = []
        while True:
            answer = self._head()
            if answer.status >= 200:
                break
            interim.append(answer.status)
            if answer.status == 101:
                break
        answer.interim = interim
        coding, length = answer.get("transfer-encoding"), answer.get("content-length")
        if coding is not None and length is not None:
            raise Malformed("both Transfer-Encoding and Content-Length")
        if method == "HEAD" or answer.status in (101, 204, 304):
            return answer
        if coding is not None:
            if coding != "chunked":
                raise Malformed(f"Transfer-Encoding: {coding}")
            answer.body = self._chunks()
        elif length is not None:
            answer.body = self.take(int(length))
        else:
            answer.body = self.rest()
        return answer

    def _head(self) -> Answer:
        line = self.line()
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise Malformed(f"status line {line!r}")
        answer = Answer(int(match[1]), match[2].decode("latin-1"), [])
        while line := self.line():
            pair = _FIELD.fullmatch(line)
            if pair is None:
                raise Malformed(f"field line {line!r}")
            answer.fields.append((pair[1].decode(), pair[2].decode("latin-1")))
        return answer

    def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            line = self.line()
            if re.fullmatch(rb"[0-9A-Fa-f]+", line) is None:
                raise Malformed(f"chunk size {line!r}")
            size = int(line, 16)
            if not size:
                while self.line():
                    pass
                return bytes(body)
            body += self.take(size)
            if self.line():
                raise Malformed("a chunk without its CRLF")

    def rest(self) -> bytes:
        """Everything up to the end of the connection; `Cut` if that is a reset."""
        try:
            while True:
                self._more()
        except Cut as cut:
            if cut.how == "reset":
                raise
        taken = bytes(self._held)
        self._held.clear()
        return taken

    def closed(self, timeout: float = DEADLINE) -> bool:
        """Whether the server ends the connection by the deadline, in whatever way; what comes is dropped."""
        end = time.monotonic() + timeout
        self._held.clear()
        while (left := end - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                if not self.sock.recv(65536):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False
