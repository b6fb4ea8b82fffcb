"""TTIN and TTOU: one more, one less, never none, nothing lost."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.processes.load import Load
from tests.processes.server import Server, until


def test_scaling_under_load(serve: Callable[..., Server], options: list[str]) -> None:
    server = serve("-w", "2", *options)
    address = (server.host, server.port)
    with Load(address, 4, keepalive=True) as kept, Load(address, 4, keepalive=False) as closing:
        for number, wanted in (
            (signal.SIGTTIN, 3),
            (signal.SIGTTIN, 4),
            (signal.SIGTTOU, 3),
            (signal.SIGTTOU, 2),
        ):
            server.signal(number)
            until(lambda wanted=wanted: len(server.workers()) == wanted, f"{wanted} workers")
            kept.wait_ok(30)
            closing.wait_ok(30)
    assert kept.lost == 0, f"{kept.verdict()}\n{server.log.text}"
    assert closing.lost == 0, f"{closing.verdict()}\n{server.log.text}"


def test_never_below_one(serve: Callable[..., Server]) -> None:
    server = serve("-w", "1", "wsgi_app")
    for _ in range(3):
        server.signal(signal.SIGTTOU)
    assert "pid=" in server.get()
    server.signal(signal.SIGTTIN)
    until(lambda: len(server.workers()) == 2, "2 workers")
