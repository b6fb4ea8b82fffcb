"""The service manager's side: sockets it passes, and what it is told (sd_listen_fds(3), sd_notify(3)).

Neighbours: `host` takes the sockets, `arbiter` tells. Its one rule: without a service manager every call is
nothing, and a service manager that does not listen harms nobody.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Final

FIRST_FD: Final = 3


def take_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets passed to this process; the variables are removed, so that no child takes them for its
    own.
    """
    count = environ.pop("LISTEN_FDS", "")
    owner = environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if owner != str(os.getpid()) or not count.isdigit():
        return []
    sockets = []
    for fd in range(FIRST_FD, FIRST_FD + int(count)):
        sock = socket.socket(fileno=fd)
        sock.set_inheritable(False)
        sockets.append(sock)
    return sockets


class Notifier:
    """Tells the service manager what the arbiter is about."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._path = environ.get("NOTIFY_SOCKET", "")
        self.interval = self._watchdog_interval(environ)
        """Seconds between two `watchdog()` calls, half of what is allowed; 0.0 when none is wanted."""

    @staticmethod
    def _watchdog_interval(environ: Mapping[str, str]) -> float:
        limit, owner = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        if not limit.isdigit() or (owner and owner != str(os.getpid())):
            return 0.0
        return int(limit) / 2_000_000

    def ready(self, status: str) -> None:
        """The service is up (also: a reload has ended)."""
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload has begun."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=reloading")

    def stopping(self) -> None:
        """The service goes down."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def watchdog(self) -> None:
        """The arbiter's loop turns."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._path:
            return
        path = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                sock.sendto(text.encode(), path)
            except OSError:
                pass  # nobody listens; the service goes on
