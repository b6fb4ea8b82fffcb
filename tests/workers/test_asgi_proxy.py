"""The PROXY protocol in front of an asgi worker."""

from __future__ import annotations

from typing import Any

import pytest

from arbiter.link.scoreboard import Word
from tests.fakes.asgi_apps import Receive, Scope, Send, answer, http_only
from tests.fakes.asgi_worker import Reader, request, serving

V1 = b"PROXY TCP4 9.9.9.9 8.8.8.8 4711 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes((9, 9, 9, 9, 8, 8, 8, 8)) + b"\x12\x67\x01\xbb"


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Ends:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append((scope["client"], scope["server"]))
        await answer(send)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("pieces", [1000, 5])
def test_headers(header: bytes, pieces: int, loop_kind: str) -> None:
    """http.md 50: client and server as the proxy saw them, however the bytes are split."""
    app = Ends()
    data = header + request()
    with serving(http_only(app), proxy_protocol="auto", asgi_loop=loop_kind) as worker:
        client = worker.connect()
        for at in range(0, len(data), pieces):
            client.sendall(data[at : at + pieces])
        reader = Reader(client)
        assert reader.answer().status == 200
        assert worker.row[Word.CONNECTIONS] == 1
        client.sendall(request())
        assert reader.answer().status == 200
    assert app.seen == [(("9.9.9.9", 4711), ("8.8.8.8", 443))] * 2


def test_required_means_required() -> None:
    """http.md 50: closed without an answer."""
    with serving(http_only(Ends()), proxy_protocol="v1") as worker:
        client = worker.connect()
        client.sendall(request())
        assert Reader(client).rest() == b""
        assert worker.row[Word.BAD_REQUESTS] == 1
        worker.until(lambda: worker.row[Word.CONNECTIONS] == 0)


def test_peers_that_may_not_are_plain_clients() -> None:
    """http.md 50: only from allowed peers."""
    app = Ends()
    with serving(http_only(app), proxy_protocol="v1", proxy_allow_ips="10.0.0.1") as worker:
        client = worker.connect()
        client.sendall(request())
        assert Reader(client).answer().status == 200
    assert app.seen[0][0][0] == "127.0.0.1"


def test_no_header_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """http.md 35."""
    monkeypatch.setattr("arbiter.workers.dispatch.tasks.TICK", 0.02)
    with serving(http_only(Ends()), proxy_protocol="v1", header_timeout=0.1) as worker:
        assert Reader(worker.connect()).rest() == b""


def test_drain() -> None:
    with serving(http_only(Ends()), proxy_protocol="v1") as worker:
        client = worker.connect()
        client.sendall(b"PROXY ")
        worker.until(lambda: worker.row[Word.CONNECTIONS] == 1)
        worker.drain()
        assert worker.wait() == 0
