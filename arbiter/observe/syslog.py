"""Records and access lines to a syslog daemon, as gunicorn's `syslog` settings have them.

Neighbours: `logs` makes one for the error log (behind a handler of `handlers`) and one for the access log;
`config` asks `split`. Its one rule: a daemon that is slow or away costs records, not time: nothing here
waits, and what is lost is counted.

Sources: RFC 3164 for the form (without time and host, which a daemon adds: as gunicorn and glibc's readers
expect), RFC 6587 section 3.4.2 for streams (a line feed ends a message), syslog(3) for the numbers.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Callable
from typing import Final

from arbiter.errors import FilesError
from arbiter.observe.formats import priority

_NAMES: Final = (
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
)
FACILITIES: Final = {name: number for number, name in enumerate(_NAMES)} | {
    f"local{number}": 16 + number for number in range(8)
}
"""The facilities of syslog(3) and their numbers."""
LONGEST: Final = 8192
"""Bytes of a message; the daemons' own usual limit."""
AGAIN: Final = 1.0
"""Seconds between two attempts to reach the daemon."""


class Syslog:
    """A connection to the daemon at `address`: "unix:PATH", "unix:PATH#stream", "udp://HOST:PORT",
    "tcp://HOST:PORT".

    tag: what the messages are signed with; facility: a name of `FACILITIES`. Raises `FilesError` for an
    address that cannot be one; a daemon that is not there is tried again.
    """

    def __init__(self, address: str, facility: str, tag: str) -> None:
        self.address = address
        self.dropped = 0
        self._tag = tag
        self._facility = FACILITIES[facility] << 3
        self._family, self._kind, self._where = _resolve(address)
        self._socket: socket.socket | None = None
        self._pid = 0
        self._next = 0.0
        self._rest = b""
        self._connected()

    def write(self, level: int, text: str) -> bool:
        """Send one message; False, and counted, if it cannot be done now."""
        text = text.replace("\n", "#012")  # as the daemons themselves write a line feed
        head = f"<{self._facility | priority(level)}>{self._tag}: [{os.getpid()}] "
        data = (head + text).encode("utf-8", "backslashreplace")[:LONGEST]
        if self._kind == socket.SOCK_STREAM:
            data += b"\n"
        done = self._send(data)
        self.dropped = 0 if done else self.dropped + 1
        return done

    def send(self, data: bytes, stopping: Callable[[], bool]) -> None:
        """Access lines, one message each (as `sinks.Target`; never raises)."""
        for line in data.decode("utf-8", "replace").splitlines():
            self.write(logging.INFO, line)

    def _send(self, data: bytes) -> bool:
        for _ in range(2):  # a daemon that was restarted is noticed by writing to the former one
            if not self._connected() or self._socket is None:
                return False
            try:
                if self._rest:
                    self._rest = self._rest[self._socket.send(self._rest, socket.MSG_DONTWAIT) :]
                if self._rest:
                    return False
                sent = self._socket.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                self.close()
                continue
            self._rest = data[sent:]
            return True
        return False

    def _connected(self) -> bool:
        if self._socket is not None and self._pid == os.getpid():
            return True
        now = time.monotonic()
        if self._pid != os.getpid():
            self.close()  # the arbiter's: two processes on one stream would mix their messages
        elif now < self._next:
            return False
        self._pid, self._next, self._rest = os.getpid(), now + AGAIN, b""
        connection = socket.socket(self._family, self._kind)
        try:
            # The one wait: at the start of a process, and where a daemon has been away, for a moment.
            connection.settimeout(0.2)
            connection.connect(self._where)
            connection.setblocking(False)
        except OSError:
            connection.close()
            return False
        self._socket, self._next = connection, 0.0
        return True

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def split(address: str) -> tuple[socket.SocketKind, str, int]:
    """The kind of socket, the path and 0, or the host and port, of a `syslog_addr`. Raises ValueError."""
    scheme, _, rest = address.partition(":")
    if scheme == "unix":
        path, _, kind = rest.partition("#")
        path = "/" + path.lstrip("/") if path.startswith("//") else path
        if len(path) > 1 and path[0] == "/" and kind in ("", "dgram", "stream"):
            return socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM, path, 0
    elif scheme in ("udp", "tcp") and rest.startswith("//"):
        found = _HOST_PORT.fullmatch(rest[2:])
        if found:
            host = found["six"] or found["host"] or "localhost"
            return (
                socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM,
                host,
                int(found["port"] or 514),
            )
    raise ValueError(f"{address!r} is no address of a syslog daemon")


_HOST_PORT: Final = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^\[\]:/]*))(?::(?P<port>[0-9]{1,5}))?/?"
)


def _resolve(address: str) -> tuple[socket.AddressFamily, socket.SocketKind, str | tuple[str, int]]:
    """Family, kind and socket address. Raises `FilesError`."""
    try:
        kind, host, port = split(address)
        if not port:
            return socket.AF_UNIX, kind, host
        found = socket.getaddrinfo(host, port, type=kind)
    except (OSError, ValueError) as error:
        raise FilesError(f"syslog_addr = {address!r}: cannot be resolved: {error}.") from None
    family, _, _, _, where = found[0]
    return family, kind, (str(where[0]), int(where[1]))
