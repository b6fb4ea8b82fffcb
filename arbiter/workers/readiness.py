"""The request that a worker answers before it may say that it is ready (`readiness_path`).

Neighbours: each dispatcher adopts `theirs` as it would a client's connection and lets its loop turn until
the answer is there. Its one rule: it is a client like any other: what is proved is the whole way of a
request through this very worker, before anybody else can reach it.
"""

from __future__ import annotations

import http.client
import io
import socket
from typing import Final
from urllib.parse import urlsplit

from arbiter.config.snapshot import Config
from arbiter.protocols.peer.proxy_protocol import SIGNATURE

FAILED: Final = 400
"""An answer with this status or a higher one means that the worker is not ready."""
KEPT: Final = 65536
"""Bytes of the answer that are kept."""
SHOWN: Final = 500
"""Characters of its body that are told."""

_PROXY_HEADERS: Final = {
    "v1": b"PROXY UNKNOWN\r\n",
    "auto": b"PROXY UNKNOWN\r\n",
    "v2": SIGNATURE + b"\x20\x00\x00\x00",  # LOCAL: the proxy speaks for itself
}


class Probe:
    """One GET over a socket pair; the request is on its way when this has been made.

    `sock` is the client's end, non-blocking; `theirs` belongs to whoever adopts it. Raises OSError if there
    is no descriptor for them.
    """

    def __init__(self, config: Config) -> None:
        text = config.readiness_path or "/"
        url = urlsplit(text)
        path = url._replace(scheme="", netloc="", fragment="").geturl()
        path = path if path.startswith("/") else f"/{path}"
        self._host = url.netloc or "localhost"
        self._what = f"GET {text}"
        self._origin = config.origin("readiness_path")
        self._answer = bytearray()
        self.over = False
        self.sock, self.theirs = socket.socketpair()
        self.sock.setblocking(False)
        self.theirs.setblocking(False)
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {self._host}",
            "User-Agent: arbiter-readiness",
            "Connection: close",
        ]
        if url.scheme == "https":  # whoever comes by a unix socket is believed
            lines += [f"{name}: {value}" for name, value in list(config.secure_scheme_headers.items())[:1]]
        request = "\r\n".join([*lines, "", ""]).encode("utf-8")
        self.sock.sendall(_PROXY_HEADERS.get(config.proxy_protocol, b"") + request)

    @property
    def step(self) -> str:
        """What the worker is doing, for whoever wonders what takes so long."""
        return f"readiness ({self._what})"

    def read(self) -> bool:
        """Take in what has come; whether that was the end."""
        while not self.over:
            try:
                self.take(self.sock.recv(KEPT))
            except BlockingIOError:
                break
            except OSError:
                self.over = True
        return self.over

    def take(self, data: bytes) -> None:
        """A part of the answer has come, or (b"") its end."""
        self.over = self.over or not data
        self._answer += data[: KEPT - len(self._answer)]

    @property
    def problem(self) -> str:
        """Why the worker is not ready, "" if it is; to be asked when the answer is over."""
        status, body = self._parse()
        if 0 < status < FAILED:
            return ""
        where = f"readiness_path ({self._origin}): {self._what}"
        if not status:
            return f"{where} was not answered"
        hint = "; write the path as a URL to ask as another host" if status == FAILED else ""
        text = " ".join(body.decode("utf-8", "replace").split())[:SHOWN]
        return f"{where} was answered with {status} (Host: {self._host}{hint}): {text or 'no body'}"

    def _parse(self) -> tuple[int, bytes]:
        """Status and what there is of the body; (0, b"") if that is no answer."""
        answer = bytes(self._answer)
        while answer.startswith(b"HTTP/1.1 1"):  # an interim one (100, 103) goes before the answer
            answer = answer.partition(b"\r\n\r\n")[2]
        response = http.client.HTTPResponse(_Received(answer), method="GET")  # type: ignore[arg-type]
        try:
            response.begin()
        except (http.client.HTTPException, OSError):
            return 0, b""
        try:
            return response.status, response.read()
        except http.client.IncompleteRead as cut:
            return response.status, cut.partial

    def close(self) -> None:
        """Give the client's end back."""
        self.sock.close()


class _Received:
    """What `HTTPResponse` needs of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)
