"""kill -9: a worker's death costs what it was doing and no more; the arbiter's takes its workers along."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable

from tests.processes.load import Load
from tests.processes.server import KINDS, Held, Server, gone, until

Serve = Callable[..., Server]


def test_a_killed_worker_is_replaced_and_named(serve: Serve, options: list[str]) -> None:
    server = serve("-w", "2", *options)
    mark = server.mark()
    victim = min(server.workers())
    os.kill(victim, signal.SIGKILL)
    server.log.wait(rf"pid {victim}\b.*(SIGKILL|signal 9|killed)", since=mark)
    until(lambda: len(server.workers() - {victim}) == 2, "a replacement")
    assert "pid=" in server.get()


def test_a_kill_loses_at_most_what_the_worker_had(serve: Serve, options: list[str]) -> None:
    """4 clients, each with one request at a time: a death can cost each of them one request."""
    server = serve("-w", "2", *options)
    with Load((server.host, server.port), 4, keepalive=False) as load:
        load.wait_ok(50)
        victim = min(server.workers())
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(server.workers() - {victim}) == 2, "a replacement")
        until(lambda: load.counts["ok"] > 400, "400 good answers")
    assert load.lost <= 4, f"{load.verdict()}\n{server.log.text}"
    assert load.counts["refused"] == 0


def test_a_database_that_is_away_while_a_worker_dies(serve: Serve, kind: str, options: list[str]) -> None:
    """Without a mold its successor loads what cannot be loaded: the others serve on, it is tried again, and
    one success is enough.
    """
    server = serve("-w", "3", "--no-preload", *options)
    others = server.workers()
    with Load((server.host, server.port), 4, keepalive=False) as load:
        server.rewrite(KINDS[kind], "VERSION =", 'raise ConnectionError("the database is away")\nVERSION =')
        victims = [others.pop(), others.pop()]
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        mark = server.mark()
        for _ in range(2):
            server.log.wait(r"ConnectionError: the database is away; next try in \d\.\d s", since=mark)
            mark = server.mark()
        server.log.wait(r"next try in \d+\.\d s; the traceback is the same as before, \d+ times in a row$")
        assert server.log.text.count("Traceback") == 1
        assert server.workers() >= others, "who is healthy is not touched"
        goal = load.counts["ok"] + 200
        until(lambda: load.counts["ok"] > goal, "200 good answers")
        server.rewrite(KINDS[kind], 'raise ConnectionError("the database is away")\n', "")
        until(lambda: len(server.workers()) == 3, "3 workers")
        until(lambda: server.log.count(r"\) ready \(") == 5, "the readiness of both successors")
    assert load.lost <= 4, f"{load.verdict()}\n{server.log.text}"
    assert load.counts["refused"] == 0
    assert server.stop() == 0


def test_an_exit_status_of_a_worker_is_no_command(serve: Serve, options: list[str]) -> None:
    """gunicorn takes 3 and 4 from a worker as an order to halt; here a request cannot stop the server."""
    server = serve("-w", "2", *options)
    for status in (3, 4):
        before = server.workers()
        with socket.create_connection((server.host, server.port), timeout=10) as client:
            client.sendall(f"GET /exit?{status} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            try:
                assert client.recv(100) == b""
            except ConnectionResetError:
                pass
        until(
            lambda before=before: len(server.workers()) == 2 and server.workers() != before, "a replacement"
        )
        assert "pid=" in server.get()


def test_no_worker_outlives_its_arbiter(serve: Serve, options: list[str]) -> None:
    """Also with a request in hand: within a second the workers are gone and the port is free."""
    server = serve("-w", "3", *options)
    workers = server.workers()
    with Held(server, "a"):
        server.signal(signal.SIGKILL)
        server.process.wait(10)
        # A second is the promise; the rest is for a machine that has other work.
        assert all(gone(pid, 5.0) for pid in workers), server.log.text
        with socket.socket() as successor:
            successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            successor.bind(("127.0.0.1", server.port))
            successor.listen()
    server.log.join()
    who = r"\[worker \d \(gen 1, pid (\d+)\)\] \[WARNING\] "
    told = re.findall(rf"{who}the arbiter \(pid {server.pid}\) is gone: leaving", server.log.text)
    # A sync worker that is in the application when the kernel ends it has no turn to say so.
    assert len(told) == len(set(told)) >= 2, server.log.text
