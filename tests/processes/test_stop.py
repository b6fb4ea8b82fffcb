"""TERM answers what has begun and exits 0; INT, QUIT and a second TERM do not wait."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable

import pytest

from tests.processes.client import Client
from tests.processes.server import Held, Server, gone, until

Serve = Callable[..., Server]


def test_term_answers_what_is_in_flight(serve: Serve, kind: str, options: list[str]) -> None:
    server = serve("-w", "2", *options)
    workers = server.workers()
    with contextlib.ExitStack() as stack:
        idle: dict[bytes, Client] = {}
        while kind != "sync" and len(idle) < 2:  # in each worker a kept connection, which ends when it drains
            client = stack.enter_context(Client((server.host, server.port)))
            idle[client.get("/").body.split()[0]] = client
        held = stack.enter_context(Held(server, "a"))
        server.signal(signal.SIGTERM)
        until(lambda: len(server.workers()) == 1, "the idle worker's end: both have been told")
        assert all(client.closed() for client in idle.values())
        held.let_go()
        answer = held.answer()
        assert answer.status == 200
        assert b"pid=" in answer.body
        assert (answer.getheader("connection") or "").lower() == "close"
    assert server.wait() == 0
    assert all(gone(pid) for pid in workers)
    assert server.log.count("stopped") >= 1


def test_an_idle_kept_connection_does_not_hold_up_the_stop(serve: Serve, options: list[str]) -> None:
    server = serve("-w", "1", *options, "--keep-alive", "75")
    with socket.create_connection((server.host, server.port), timeout=30) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        assert server.stop() == 0
        assert client.recv(1) == b""


def test_requests_in_the_queue_at_term_are_answered(serve: Serve) -> None:
    """A busy sync worker has others waiting in the kernel's queue: we promised them an answer."""
    server = serve("-w", "1", "-k", "sync", "wsgi_app")
    with Held(server, "a") as held:
        queued = [socket.create_connection((server.host, server.port), timeout=30) for _ in range(5)]
        for client in queued:
            client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        mark = server.mark()
        server.signal(signal.SIGTERM)
        server.log.wait("(?i)stop|term", since=mark)
        held.let_go()
        assert held.answer().status == 200
        for client in queued:
            with client:
                assert client.recv(65536).startswith(b"HTTP/1.1 200"), server.log.text
    assert server.wait() == 0


def test_a_request_that_never_ends_is_cut_at_the_timeout(serve: Serve, options: list[str]) -> None:
    server = serve("-w", "1", "--graceful-timeout", "1", *options)
    with Held(server, "a") as held:
        assert server.stop() == 0
        try:
            status = held.answer().status
        except OSError:
            status = 0
        assert status in (0, 500, 503), "cut, or refused; never a 200"
    assert server.log.count(r"/hold") >= 1, server.log.text


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGQUIT])
def test_a_quick_stop_does_not_wait(serve: Serve, options: list[str], first: signal.Signals) -> None:
    server = serve("-w", "2", "--graceful-timeout", "600", *options)
    with Held(server, "a"):
        server.signal(first)
        assert server.wait() == 0


def test_a_second_term_does_not_wait(serve: Serve, options: list[str]) -> None:
    server = serve("-w", "2", "--graceful-timeout", "600", *options)
    with Held(server, "a"):
        mark = server.mark()
        server.signal(signal.SIGTERM)
        server.log.wait("(?i)stop|term", since=mark)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
