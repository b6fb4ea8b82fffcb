"""Answers in parts too large to be copied, on either event loop: what a client does about them stays its own
affair.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from arbiter.protocols.http1.response import LARGE
from tests.fakes.asgi_apps import Receive, Scope, Send, body, http_only, start
from tests.fakes.asgi_worker import Reader, request, serving

PART = b"x" * (2 * LARGE)


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def in_parts(scope: Scope, receive: Receive, send: Send) -> None:
    """As many parts as the path says."""
    await send(start())
    for _ in range(int(scope["path"][1:])):
        await send(body(PART, more=True))
    await send(body(b""))


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("parts", [1, 2, 40])
def test_all_of_it_arrives(loop_kind: str, parts: int, version: str) -> None:
    """http.md 35, 42: chunked or up to the connection's end."""
    with serving(http_only(in_parts), asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(request(f"/{parts}", version=version))
        got = Reader(client).answer()
    assert got.body == PART * parts
    assert [exchange.sent for exchange in worker.access.lines] == [len(PART) * parts]


def test_for_head_there_is_nothing_to_write(loop_kind: str) -> None:
    """http.md 43: parts that are not sent do not keep the connection from closing, and count for nothing."""
    with serving(http_only(in_parts), asgi_loop=loop_kind) as worker:
        client = worker.connect()
        client.sendall(request("/3", method="HEAD", headers="Connection: close\r\n"))
        assert Reader(client).rest().endswith(b"\r\n\r\n")
        worker.until(lambda: worker.access.lines)
    assert [exchange.sent for exchange in worker.access.lines] == [0]


def test_a_client_that_reads_nothing(loop_kind: str) -> None:
    """http.md 35: send() waits, so memory is bounded; and `send_timeout` ends it."""
    handed = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        for _ in range(2000):
            await send(body(PART, more=True))
            handed.append(len(PART))

    with serving(http_only(app), asgi_loop=loop_kind, send_timeout=0.5) as worker:
        client = worker.connect()
        client.sendall(request("/"))
        worker.until(lambda: worker.access.lines)
        assert not worker.tasks.service.connections
    assert sum(handed) < 64_000_000  # what the kernel's buffers hold, of 131 MB


def test_a_reset_hurts_nobody_else(loop_kind: str) -> None:
    """http.md 41: a connection that has the descriptor of one that was reset is served."""
    reset: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        if scope["path"] == "/reset":
            victim = reset.pop()
            victim.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            victim.close()
            for _ in range(6):
                await send(body(PART, more=True))
        await send(body(b"fine"))

    with serving(http_only(app), asgi_loop=loop_kind) as worker:
        for turn in range(5):
            client = worker.connect()
            reset.append(client)
            client.sendall(request("/reset"))
            worker.until(lambda turn=turn: len(worker.access.lines) == 2 * turn + 1)
            other = worker.connect()
            other.sendall(request("/"))
            assert Reader(other).answer().body == b"fine"
            worker.until(lambda turn=turn: len(worker.access.lines) == 2 * turn + 2)
            other.close()
