"""statsd, as gunicorn speaks it: the same settings, the same names, so that dashboards go on working.

Neighbours: a worker's row tells it of requests (`workers.told_row`), a handler of records (`TellStatsd`), the
arbiter of its workers (`supervisor.outside`). Its one rule: it never waits and never fails: a datagram that
cannot be sent now is not sent.

https://docs.gunicorn.org/en/stable/instrumentation.html; tags as in Datadog's extension of the format.
"""

from __future__ import annotations

import logging
import re
import socket
from typing import Any, Protocol


class Where(Protocol):
    """An address, as `config.address` has it: kind "unix" with a path, else a host and a port."""

    @property
    def kind(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def path(self) -> str: ...


class StatsdSettings(Protocol):
    """The settings read here."""

    @property
    def statsd_host(self) -> Where | None: ...

    statsd_prefix: str
    dogstatsd_tags: str


class Statsd:
    """One process's way to a statsd. Raises OSError if the address cannot be made sense of."""

    def __init__(self, host: Where, prefix: str, tags: str) -> None:
        self._prefix = re.sub(r"^(.*[^.])\.*$", r"\1.", prefix)
        self._tags = f"|#{tags}" if tags else ""
        if host.kind == "unix":
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            target: Any = host.path
        else:
            family, _, _, _, target = socket.getaddrinfo(host.host, host.port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(target)
        except OSError:
            if host.kind != "unix":
                self._socket.close()
                raise
            self._late: Any = target  # it may be made later
        else:
            self._late = None

    def request(self, status: int, milliseconds: float) -> None:
        """A request has been answered."""
        prefix, tags = self._prefix, self._tags
        self._send(
            f"{prefix}gunicorn.request.duration:{milliseconds:.3f}|ms{tags}\n"
            f"{prefix}gunicorn.requests:1|c|@1.0{tags}\n"
            f"{prefix}gunicorn.request.status.{status}:1|c|@1.0{tags}"
        )

    def gauge(self, name: str, value: float) -> None:
        """A value as it is now."""
        self._send(f"{self._prefix}{name}:{value:g}|g{self._tags}")

    def histogram(self, name: str, value: float) -> None:
        """One of many values."""
        self._send(f"{self._prefix}{name}:{value:g}|ms{self._tags}")

    def increment(self, name: str) -> None:
        """One more."""
        self._send(f"{self._prefix}{name}:1|c|@1.0{self._tags}")

    def close(self) -> None:
        """No more."""
        self._socket.close()

    def _send(self, text: str) -> None:
        try:
            if self._late is not None:
                self._socket.connect(self._late)
                self._late = None
            self._socket.send(text.encode("utf-8", "replace"))
        except OSError:
            pass  # nobody listens, or the buffer is full


def open_statsd(settings: StatsdSettings) -> Statsd | None:
    """A way to the statsd of the settings, None if they name none or it cannot be resolved."""
    if settings.statsd_host is None:
        return None
    try:
        return Statsd(settings.statsd_host, settings.statsd_prefix, settings.dogstatsd_tags)
    except OSError:
        return None


class TellStatsd(logging.Handler):
    """Counts records as gunicorn does: gunicorn.log.critical, .error, .warning, .exception."""

    def __init__(self, statsd: Statsd) -> None:
        super().__init__(logging.WARNING)
        self._statsd = statsd

    def emit(self, record: logging.LogRecord) -> None:
        word = "exception" if record.exc_info else record.levelname.lower()
        self._statsd.increment(f"gunicorn.log.{word}")
