"""request_timeout in an asgi worker: cancelled, answered for or broken, told once; extended on request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import arbiter
from tests.fakes.asgi_apps import Receive, Scope, Send, answer, body, http_only, start
from tests.fakes.asgi_worker import Reader, fetch, request, serving


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Views:
    """A view that never ends by itself, in several variants; `ended` says how each did."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/":
            await answer(send, b"quick")
            return
        if path == "/extended":
            assert arbiter.extend_deadline(0.5)
            await asyncio.sleep(0.3)
            await answer(send, b"in time")
            assert not arbiter.extend_deadline(1), "the exchange is over"
            return
        if path == "/stream":
            await send(start())
            await send(body(b"part", more=True))
        if path == "/after":
            await answer(send, b"done")
        try:
            await asyncio.sleep(0.4 if path == "/after" else 60)
            self.ended.append("by itself")
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            if path == "/late":
                await answer(send, b"too late")
            raise


def test_nothing_sent_is_answered_with_504(loop_kind: str) -> None:
    views = Views()
    with serving(http_only(views), asgi_loop=loop_kind, request_timeout=0.2) as worker:
        client = worker.connect()
        client.sendall(request("/wait"))
        reader = Reader(client)
        got = reader.answer()
        assert (got.status, got["connection"]) == (504, "close")
        assert reader.ends()
        worker.until(lambda: not worker.tasks.service.running)
        assert views.ended == ["cancelled"]
        (told,) = worker.log.at("warning", "error")
        assert "GET /wait has taken" in told
        assert "(request_timeout = 0.2 s): cancelled, answered with 504" in told
        assert __file__ in told, "the stack of the view"
        assert "/arbiter/gateways/" not in told
        assert [line.status for line in worker.access.lines] == [504]
        assert worker.row.in_flight == 0
        assert fetch(worker, request()).body == b"quick"


def test_a_view_that_answers_on_being_cancelled_is_not_heard(loop_kind: str) -> None:
    views = Views()
    with serving(http_only(views), asgi_loop=loop_kind, request_timeout=0.2) as worker:
        got = fetch(worker, request("/late"))
        assert (got.status, got["connection"]) == (504, "close")
        worker.until(lambda: not worker.tasks.service.running)
        assert len(worker.log.at("warning", "error")) == 1


def test_an_answer_that_has_begun_is_broken_visibly(loop_kind: str) -> None:
    views = Views()
    with serving(http_only(views), asgi_loop=loop_kind, request_timeout=0.2) as worker:
        client = worker.connect()
        client.sendall(request("/stream"))
        reader = Reader(client)
        reader.until(b"part\r\n")
        assert b"0\r\n\r\n" not in reader.rest()
        worker.until(lambda: not worker.tasks.service.running)
        assert views.ended == ["cancelled"]
        (told,) = worker.log.at("warning", "error")
        assert "its connection broken" in told


def test_what_follows_the_answer_has_no_limit(loop_kind: str) -> None:
    """Background tasks of Starlette run in the same call."""
    views = Views()
    with serving(http_only(views), asgi_loop=loop_kind, request_timeout=0.1) as worker:
        assert fetch(worker, request("/after")).body == b"done"
        worker.until(lambda: views.ended)
        assert views.ended == ["by itself"]
        assert worker.log.at("warning", "error") == []


def test_a_view_can_have_more(loop_kind: str) -> None:
    with serving(http_only(Views()), asgi_loop=loop_kind, request_timeout=0.1) as worker:
        assert fetch(worker, request("/extended")).body == b"in time"
        worker.until(lambda: not worker.tasks.service.running)
        assert worker.log.at("warning", "error") == []


def test_an_extension_is_seen_on_the_scoreboard() -> None:
    """Where the arbiter looks for slow requests."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        arbiter.extend_deadline(60)
        await asyncio.to_thread(arbiter.extend_deadline, 30)
        seen.extend(worker.row.lanes())
        await answer(send)

    with serving(http_only(app)) as worker:
        assert fetch(worker, request()).status == 200
    assert [lane.extra_ns for lane in seen] == [90_000_000_000]
