"""The lifespan, with a real worker."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from arbiter.errors import ExitStatus, ResponseError
from tests.fakes.asgi_apps import Receive, Scope, Send, answer, hello
from tests.fakes.asgi_worker import PATIENCE, Reader, Worker, fetch, request, serving


class Recorder:
    """An application with a lifespan; keeps what happened."""

    def __init__(self, startup: str = "complete", shutdown: str = "complete", message: str = "") -> None:
        self.startup = startup
        self.shutdown = shutdown
        self.message = message
        self.events: list[Any] = []
        self.tasks: set[Any] = set()
        self.loops: set[Any] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.loops.add(asyncio.get_running_loop())
        if scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
            return
        self.events.append("request")
        await answer(send, repr(sorted(scope["state"].items())).encode())
        scope["state"]["leak"] = 1

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
        for phase, verdict in (("startup", self.startup), ("shutdown", self.shutdown)):
            message = await receive()
            self.events.append(message["type"])
            if verdict == "raise":
                raise RuntimeError(f"{phase} broke")
            if verdict == "exit":
                raise SystemExit(9)
            if verdict == "return":
                return
            if verdict == "hang":
                await asyncio.sleep(1000)
            if phase == "startup":
                scope["state"]["db"] = "pool"
            await send({"type": f"lifespan.{phase}.{verdict}", "message": self.message})


def test_startup_requests_shutdown() -> None:
    """asgi.md 17, 85, 88, 89: once, on the loop that serves, before the first and after the last
    connection.
    """
    app = Recorder()
    with serving(app) as worker:
        assert app.events == ["lifespan.startup"]
        for _ in range(2):
            assert fetch(worker, request()).body == b"[('db', 'pool')]"
        idle = worker.connect()
        idle.sendall(request())
        assert Reader(idle).answer().status == 200
        worker.drain()
        assert worker.wait() == ExitStatus.OK
    assert app.events == ["lifespan.startup", "request", "request", "request", "lifespan.shutdown"]
    assert len(app.loops) == 1
    assert worker.log.records == []


def test_an_application_without_a_lifespan() -> None:
    """asgi.md 86, Django 1: one quiet line, and it serves."""
    with serving(hello) as worker:
        assert fetch(worker, request()).status == 200
        assert worker.log.records == [("info", "the application has no lifespan (no lifespan here)", "")]


def test_an_exception_without_a_text_is_named() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await hello(scope, receive, send)

    with serving(app) as worker:
        assert fetch(worker, request()).status == 200
        assert worker.log.records == [("info", "the application has no lifespan (NotImplementedError)", "")]


@pytest.mark.parametrize("how", ["raise", "return", "exit"])
def test_auto_goes_on_after_a_broken_startup(how: str) -> None:
    """asgi.md 86: as the specification asks; but one that knew what it was asked is told of with its
    traceback.
    """
    app = Recorder(startup=how)
    with serving(app) as worker:
        assert fetch(worker, request()).body == b"[]"
        worker.drain()
        assert worker.wait() == ExitStatus.OK
    assert "lifespan.shutdown" not in app.events
    assert len(worker.log.records) == 1
    assert ("broke" in worker.log.records[0][2]) == (how == "raise")


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_failed(mode: str) -> None:
    """asgi.md 87: message logged, not ready, no connection accepted, a failed boot."""
    worker = Worker(Recorder(startup="failed", message="no database"), asgi_lifespan=mode)
    worker.thread.start()
    try:
        assert worker.wait() == ExitStatus.BOOT
        assert not worker.listener.get_inheritable()
        assert "no database" in str(worker.boot_errors[0])
        assert "no database" in worker.log.at("error")[0]
    finally:
        worker.close()


@pytest.mark.parametrize("how", ["raise", "return"])
def test_on_makes_a_broken_startup_fatal(how: str) -> None:
    """asgi.md 87."""
    worker = Worker(Recorder(startup=how), asgi_lifespan="on")
    worker.thread.start()
    try:
        assert worker.wait() == ExitStatus.BOOT
        assert len(worker.boot_errors) == 1
    finally:
        worker.close()


def test_off() -> None:
    app = Recorder()
    with serving(app, asgi_lifespan="off") as worker:
        assert fetch(worker, request()).body == b"[]"
    assert app.events == ["request"]


@pytest.mark.parametrize(
    ("how", "level", "text"),
    [
        ("failed", "error", "disk full"),
        ("raise", "error", "raised during"),
        ("return", None, ""),
        ("hang", "error", "1 s"),
    ],
)
def test_shutdown(how: str, level: str | None, text: str) -> None:
    """asgi.md 89: waited for with a limit; whatever it does, the worker ends in order."""
    app = Recorder(shutdown=how, message="disk full")
    with serving(app, lifespan_timeout=1) as worker:
        worker.drain()
        assert worker.wait() == ExitStatus.OK
    assert [record[0] for record in worker.log.records] == ([level] if level else [])
    assert not text or text in worker.log.records[0][1]


@pytest.mark.parametrize("fails", [True, False])
def test_a_lifespan_that_dies_is_logged(fails: bool) -> None:
    """asgi.md 90."""
    die = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await answer(send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await asyncio.get_running_loop().run_in_executor(None, die.wait, PATIENCE)
        if fails:
            raise RuntimeError("died")

    with serving(app) as worker:
        die.set()
        worker.until(lambda: worker.log.records)
        assert worker.log.records[0][0] == ("error" if fails else "info")
        assert fetch(worker, request()).status == 200
        worker.drain()
        assert worker.wait() == ExitStatus.OK


def test_a_stop_order_during_startup() -> None:
    """asgi.md 91: a startup that hangs does not make the worker deaf."""
    app = Recorder(startup="hang")
    worker = Worker(app)
    worker.thread.start()
    try:
        worker.until(lambda: app.events)
        worker.drain()
        assert worker.wait() == ExitStatus.OK
    finally:
        worker.close()


def test_messages_that_make_no_sense() -> None:
    """asgi.md 41 for lifespans."""
    errors: list[Exception] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await answer(send)
            return
        await receive()
        for kind in ("lifespan.shutdown.complete", "lifespan.startup", "http.response.start"):
            try:
                await send({"type": kind})
            except ResponseError as error:
                errors.append(error)
        await send({"type": "lifespan.startup.complete"})
        try:
            await send({"type": "lifespan.startup.complete"})
        except ResponseError as error:
            errors.append(error)
        await receive()

    with serving(app) as worker:
        assert fetch(worker, request()).status == 200
    assert len(errors) == 4
