"""Connections in the kernel's queue: whoever can take one takes it, though another was woken for it."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
from collections.abc import Callable

from tests.processes.client import DEADLINE, Client
from tests.processes.server import Server, until

Serve = Callable[..., Server]


def test_one_free_place_among_full_workers_is_found(serve: Serve, options: list[str]) -> None:
    """Four workers, of whom three (and at times all) have as many connections as they may have."""
    most = 4
    server = serve("-w", "4", "--worker-connections", str(most), "--keep-alive", "600", *options)
    chance = random.Random(4)
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(4 * most):
            held.append(stack.enter_context(Client((server.host, server.port), timeout=DEADLINE)))
            assert held[-1].get("/").status == 200
        for _ in range(60):
            freed = held.pop(chance.randrange(len(held)))
            freed.sock.close()
            held.append(stack.enter_context(Client((server.host, server.port), timeout=DEADLINE)))
            assert held[-1].get("/").status == 200


def test_busy_threads_do_not_keep_a_connection_from_an_idle_worker(serve: Serve) -> None:
    """All threads of one worker are at work, for as long as they like, for connections that it had."""
    server = serve(
        "-k", "threaded", "--threads", "2", "-w", "3", "--keep-alive", "600", "wsgi_app:application"
    )
    with contextlib.ExitStack() as stack:
        of_worker: dict[str, list[Client]] = collections.defaultdict(list)
        for _ in range(18):
            client = stack.enter_context(Client((server.host, server.port)))
            of_worker[client.get("/").body.decode().split()[0]].append(client)
        for number, (pid, clients) in enumerate(list(of_worker.items())[:2]):
            for name, client in zip("ab", clients, strict=False):
                client.send(f"GET /hold?{name}{number} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
                started = server.directory / f"{name}{number}.started"
                until(started.exists, f"the start of {name}{number} in {pid}")
        for _ in range(30):
            assert "pid=" in server.get(timeout=DEADLINE)
        for go in ("a0", "b0", "a1", "b1"):
            (server.directory / f"{go}.go").touch()


def test_a_worker_that_is_told_to_go_does_not_take_a_wake_up_along(serve: Serve, options: list[str]) -> None:
    """Connections come one at a time, so that nobody else's arrival hides one that was left behind."""
    server = serve("-w", "3", *options)
    for _ in range(8):
        mark = server.mark()
        server.ctl("recycle", str(random.randint(1, 3)), status=None)
        until(
            lambda mark=mark: server.get(timeout=DEADLINE) and "ended" in "\n".join(server.log.lines[mark:]),
            "the end of the worker that was replaced",
        )


def test_stopped_workers_keep_no_connection_waiting(serve: Serve, options: list[str]) -> None:
    """Neither because they have the fewest, nor, beyond the next look, by a wake-up that is spent on them."""
    server = serve("-w", "3", "--timeout", "600", "--keep-alive", "600", *options)
    stopped = sorted(server.workers())[:2]
    with contextlib.ExitStack() as stack:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
            stack.callback(os.kill, pid, signal.SIGCONT)
        for _ in range(40):
            client = stack.enter_context(Client((server.host, server.port), timeout=DEADLINE))
            assert client.get("/").status == 200
