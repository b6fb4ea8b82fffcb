"""readiness_path in an asgi worker: asked after lifespan startup, before anything is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from arbiter.errors import ExitStatus
from tests.fakes.asgi_apps import Receive, Scope, Send, answer, body, start
from tests.fakes.asgi_worker import Worker, fetch, request, serving


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class App:
    """Answers with the status its path names, and tells what happened in which order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"]
                self.events.append(kind)
                await send({"type": f"{kind}.complete"})
                if kind == "lifespan.shutdown":
                    return
        self.events.append(scope["path"])
        status = int(scope["path"].strip("/") or 200)
        if status == 200:
            await answer(send, b"x" * 300_000)
            return
        await send(start(status))
        await send(body(b"no database"))


def test_a_worker_that_answers_gets_ready(loop_kind: str) -> None:
    app = App()
    with serving(app, asgi_loop=loop_kind, readiness_path="/") as worker:
        assert app.events == ["lifespan.startup", "/"]
        assert fetch(worker, request("/201")).status == 201
        worker.drain()
        assert worker.wait() == ExitStatus.OK
    assert app.events == ["lifespan.startup", "/", "/201", "lifespan.shutdown"]


def test_a_worker_that_does_not_ends(loop_kind: str) -> None:
    app = App()
    worker = Worker(app, asgi_loop=loop_kind, readiness_path="/503")
    worker.thread.start()
    assert worker.wait() == ExitStatus.BOOT
    (problem,) = worker.boot_errors
    assert "GET /503 was answered with 503 (Host: localhost): no database" in str(problem)
    assert app.events == ["lifespan.startup", "/503", "lifespan.shutdown"]
    worker.close()


def test_told_to_stop_meanwhile(loop_kind: str) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            worker.drain()
            await answer(send, b"anyway")

    worker = Worker(app, asgi_loop=loop_kind, readiness_path="/")
    worker.thread.start()
    assert worker.wait() == ExitStatus.OK
    assert worker.boot_errors == []
    worker.close()
