"""A client of the WSGI gateway without a socket, and results that count what is done with them."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

from arbiter.errors import PeerGone
from arbiter.gateways.wsgi import Call
from arbiter.gateways.wsgi_environ import build_environ, environ_template
from arbiter.protocols.events import Request
from arbiter.protocols.http1.connection import Http1Connection, ResponseDefaults
from arbiter.protocols.limits import Limits

PLAIN = [("Content-Type", "text/plain")]


class Wire:
    """The channel to a client: keeps what was sent; gone after `gone_after` writes."""

    def __init__(self, gone_after: int = 1 << 30) -> None:
        self.writes: list[bytes] = []
        self.gone_after = gone_after
        self.files = 0
        self.parts: list[Part] = []

    def write(self, data: bytes) -> None:
        if len(self.writes) >= self.gone_after:
            raise PeerGone("the client is gone")
        self.writes.append(data)

    def writelines(self, pieces: list[Any]) -> None:
        self.write(b"".join(pieces))

    def file_part(self, file: Any) -> Any:
        if not isinstance(file, OnDisk):
            return None
        self.parts.append(Part(file))
        return self.parts[-1]

    def write_file(self, head: bytes, part: Any) -> None:
        self.files += 1
        self.write(head + part.file.content[part.offset : part.offset + part.left])

    @property
    def sent(self) -> bytes:
        return b"".join(self.writes)

    @property
    def head(self) -> bytes:
        return self.sent.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.sent.partition(b"\r\n\r\n")[2]


class OnDisk:
    """A file the channel can send by itself."""

    def __init__(self, content: bytes, offset: int = 0) -> None:
        self.content = content
        self.offset = offset
        self.closed = 0

    def read(self, size: int = -1) -> bytes:
        data = self.content[self.offset :][: size if size >= 0 else None]
        self.offset += len(data)
        return data

    def close(self) -> None:
        self.closed += 1


class Part:
    def __init__(self, file: OnDisk) -> None:
        self.file = file
        self.offset = file.offset
        self.left = len(file.content) - file.offset
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Counted:
    """An iterable that counts how often it was closed and how far it was read."""

    def __init__(self, *parts: Any, error: BaseException | None = None, failing_close: bool = False) -> None:
        self.parts = parts
        self.error = error
        self.failing_close = failing_close
        self.closed = 0
        self.given = 0

    def __iter__(self) -> Iterator[Any]:
        for part in self.parts:
            self.given += 1
            yield part
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed += 1
        if self.failing_close:
            raise OSError("close failed")


def run(
    app: Callable[..., Any], head: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", wire: Wire | None = None
) -> tuple[Call, Wire]:
    wire = wire or Wire()
    http = Http1Connection(Limits(), ResponseDefaults())
    [request, *_] = http.receive(head)
    assert isinstance(request, Request)
    template = environ_template(
        server=("127.0.0.1", 80),
        peer=("127.0.0.1", 5),
        scheme="http",
        root_path="",
        errors=sys.stderr,
        multithread=False,
        multiprocess=False,
    )
    call = Call(http, wire)
    call.run(app, build_environ(template, request, io.BytesIO()))
    return call, wire


def answering(result: Any, status: str = "200 OK", headers: Any = PLAIN) -> Callable[..., Any]:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, headers)
        return result

    return app


def reasons(call: Call) -> list[str]:
    return [f"{what}: {error}" if error else what for what, error in call.faults or ()]
