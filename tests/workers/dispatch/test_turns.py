"""What is the sync kind's own: one at a time, in the main thread, and fair to its siblings."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from typing import Any

import pytest

from arbiter.workers import exchange
from arbiter.workers.dispatch import turns
from tests.fakes.workers import Served


def hello(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


def test_application_runs_in_the_loops_thread_outside_of_any_event_loop() -> None:
    """design.md 4.4: Django's ORM and asyncio.run() must work in a sync view."""
    seen: list[Any] = []

    async def inside() -> int:
        return 7

    def app(environ: Any, start_response: Any) -> Any:
        seen.append((threading.get_ident(), asyncio.run(inside())))
        return hello(environ, start_response)

    with Served("sync", app) as served:
        assert served.get().status == 200
        assert seen == [(served._thread.ident, 7)]


def test_one_request_at_a_time() -> None:
    """wsgi.md 17: wsgi.multithread False is the truth."""
    inside = 0
    most = 0

    def app(environ: Any, start_response: Any) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        inside -= 1
        return hello(environ, start_response)

    with Served("sync", app) as served:
        clients = [served.connect() for _ in range(8)]
        for client in clients:
            client.request()
        assert [client.reply().status for client in clients] == [200] * 8
    assert most == 1


def test_busy_worker_leaves_connections_to_its_siblings(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a request that took its time, only one connection is taken per wake-up."""
    monkeypatch.setattr(turns, "QUICK", 0.0)
    taken: list[int] = []

    with Served("sync", hello) as served:
        ready = served.dispatcher.acceptor.ready

        def counted(listener: Any) -> None:
            before = len(served.dispatcher.connections)
            ready(listener)
            taken.append(len(served.dispatcher.connections) - before)

        served.dispatcher.acceptor.ready = counted
        clients = [served.connect() for _ in range(6)]
        for client in clients:
            client.request()
            client.reply()
    assert sum(taken) == 6
    assert max(taken) == 1


def test_slow_requests_make_it_let_go_of_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """design.md 4.4: it never holds clients that a sibling could serve."""
    monkeypatch.setattr(exchange, "SLOW_NS", 0)
    with Served("sync", hello, workers=2) as served, served.connect() as client:
        client.request()
        assert client.reply().get("connection") is None
        client.request()
        assert client.reply().get("connection") == "close"
        assert client.closed()
    with Served("sync", hello, workers=1) as served, served.connect() as client:
        for _ in range(3):
            client.request()
            assert client.reply().get("connection") is None  # there is no sibling


def test_told_to_leave_while_the_application_runs() -> None:
    """http.md 40: the answer that is being made says close, although the loop has not turned."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "5")])
        served.orders.obey(signal.SIGTERM)
        return [b"hello"]

    with Served("sync", app) as served, served.connect() as client:
        client.request()
        assert client.reply().get("connection") == "close"
        assert client.closed()
        served.join()
    assert served.status == 0


def test_letting_go_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with Served("sync", hello, workers=2) as served:
        dispatcher = served.dispatcher
        dispatcher._shed_until = 100.0
        dispatcher.update_closing(99.0)
        assert dispatcher.closing
        dispatcher.update_closing(101.0)
        assert not dispatcher.closing


def test_pipelined_requests_let_the_others_have_their_turn() -> None:
    """http.md 34: one client's pipeline does not hold the worker for itself, nor lose anything at its end."""
    order: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        order.append(environ["PATH_INFO"])
        if len(order) == 1:
            other.request("/other")  # it is there before the second one of the pipeline is served
        return hello(environ, start_response)

    with Served("sync", app) as served, served.connect() as client:
        other = served.connect()
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(200)))
        client.sock.shutdown(socket.SHUT_WR)
        assert other.reply().status == 200
        assert [client.reply().status for _ in range(200)] == [200] * 200
        assert client.closed()
    assert order.index("/other") < 100
    order.remove("/other")
    assert order == [f"/{n}" for n in range(200)]


def test_keyboard_interrupt_is_let_through() -> None:
    """The worker is asked to go: the request is cut, descriptors are given back."""

    def app(environ: Any, start_response: Any) -> Any:
        raise KeyboardInterrupt

    served = Served("sync", app)
    served.__enter__()
    client = served.connect()
    client.request()
    assert client.closed()
    with pytest.raises(KeyboardInterrupt):
        served.join()
    served.failure = None
    served.__exit__(None, None, None)
