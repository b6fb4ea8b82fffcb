"""What a dispatcher is given, small enough to look into: settings, log, orders, and a worker in a thread."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

from arbiter.workers.orders import Orders

SETTINGS: dict[str, Any] = {
    "workers": 1,
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
    "forwarder_headers": ("SCRIPT_NAME", "PATH_INFO"),
    "proxy_protocol": "off",
    "proxy_allow_ips": ("127.0.0.1", "::1"),
    "max_requests": 0,
    "max_requests_jitter": 0,
    "graceful_timeout": 30.0,
}


def settings(**changes: Any) -> Any:
    """A Config's attributes, as far as a dispatcher reads them."""
    unknown = set(changes) - set(SETTINGS)
    assert not unknown, f"no such settings: {unknown}"
    return SimpleNamespace(**{**SETTINGS, **changes})


class FakeLog:
    """Keeps what was logged: `records` holds (level, text, exception or None)."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, BaseException | None]] = []
        self.error_log = SimpleNamespace(handlers=[])

    def _keep(self, level: str, message: str, args: tuple[object, ...], exc_info: Any = None) -> None:
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
        import sys

        self._keep("error", message, args, exc_info=sys.exc_info())

    def of(self, *levels: str) -> list[str]:
        """The texts of these levels."""
        return [text for level, text, _error in self.records if level in levels]


class FakeAccess:
    """Keeps the exchanges it is given."""

    def __init__(self) -> None:
        self.exchanges: list[Any] = []

    def write(self, exchange: Any) -> None:
        self.exchanges.append(exchange)


class FakeOrders(Orders):
    """Orders without signals: `obey(number)` does what a signal does, from any thread."""

    def __init__(self, graceful_timeout: float = 30.0) -> None:
        super().__init__(os.getppid(), -1, graceful_timeout, lambda: None)

    def obey(self, number: int) -> None:
        self._note(number, None)


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
