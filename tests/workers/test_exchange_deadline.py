"""arbiter.extend_deadline in both WSGI kinds: the arbiter sees it on the scoreboard."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import arbiter
from tests.fakes.workers import Served


def test_each_request_is_extended_by_itself(kind: str, serve: Callable[..., Served]) -> None:
    seen: list[int] = []
    together = threading.Barrier(2 if kind == "threaded" else 1)

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/export":
            assert arbiter.extend_deadline(40)
            assert arbiter.extend_deadline(2)
        together.wait(Served.LIMIT)
        seen.append(sum(lane.extra_ns for lane in served.row.lanes() if environ["PATH_INFO"] in lane.text))
        together.wait(Served.LIMIT)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    served = serve(app)
    clients = [served.connect(), served.connect()]
    for client, target in zip(clients, ("/export", "/other"), strict=True):
        client.request(target)
    assert [client.reply().status for client in clients] == [200, 200]
    assert sorted(seen) == [0, 42_000_000_000]


def test_the_next_request_starts_anew(serve: Callable[..., Served]) -> None:
    seen: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/export":
            arbiter.extend_deadline(40)
        seen.append(served.row.lanes()[0].extra_ns)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    served = serve(app)
    with served.connect() as client:
        for target in ("/export", "/other"):
            client.request(target)
            assert client.reply().status == 200
    assert seen == [40_000_000_000, 0]
