"""HUP: new workers first, old ones when the new are ready; a broken deploy changes nothing."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

import pytest

from tests.processes.load import Load
from tests.processes.server import KINDS, Held, Server, gone, until

Serve = Callable[..., Server]


def test_ten_reloads_under_load_lose_nothing(serve: Serve, options: list[str]) -> None:
    """HUP x10 under load, keep-alive and closing clients, 4 workers, 0 failed requests."""
    server = serve("-w", "4", *options)
    first = server.workers()
    address = (server.host, server.port)
    with Load(address, 4, keepalive=True) as kept, Load(address, 4, keepalive=False) as closing:
        for _ in range(10):
            kept.wait_ok(20)
            closing.wait_ok(20)
            server.reload()
        kept.wait_ok(50)
        closing.wait_ok(50)
    assert kept.lost == 0, f"{kept.verdict()}\n{server.log.text}"
    assert closing.lost == 0, f"{closing.verdict()}\n{server.log.text}"
    assert all(gone(pid) for pid in first)
    until(lambda: len(server.workers()) == 4, "4 workers and no more")
    assert server.stop() == 0


def test_a_reload_brings_the_new_code(serve: Serve, kind: str, options: list[str]) -> None:
    server = serve("-w", "2", *options)
    assert "version=one" in server.get()
    server.rewrite(KINDS[kind], '"one"', '"two"')
    assert "version=one" in server.get()
    old = server.workers()
    server.reload()
    # A worker that drains still answers what waits in the queue; then there is only the new code.
    assert all(gone(pid) for pid in old)
    assert {server.get().split()[1] for _ in range(10)} == {"version=two"}


def test_a_reload_reads_the_configuration_again(serve: Serve) -> None:
    server = serve("wsgi_app", config="workers = 1\n")
    assert len(server.workers()) == 1
    server.write_config("workers = 3\n")
    server.reload()
    until(lambda: len(server.workers()) == 3, "3 workers")


def test_a_request_in_flight_outlives_the_reload(serve: Serve, options: list[str]) -> None:
    server = serve("-w", "1", *options)
    (old,) = server.workers()
    with Held(server, "a") as held:
        server.reload()
        until(lambda: f"pid={old} " not in server.get(), "an answer by the new worker")
        held.let_go()
        answer = held.answer()
        assert answer.status == 200
        assert f"pid={old}".encode() in answer.body
        assert gone(old)


def test_a_broken_deploy_changes_nothing(serve: Serve, kind: str, options: list[str]) -> None:
    """HUP to an app that cannot be imported: old workers serve on, one traceback; the repair works."""
    server = serve("-w", "2", *options)
    before = server.workers()
    with Load((server.host, server.port), 4, keepalive=False) as load:
        server.rewrite(KINDS[kind], "VERSION =", 'raise RuntimeError("deliberately broken")\nVERSION =')
        server.reload(expect=r"reload failed: .*generation 1 goes on")
        load.wait_ok(300)
        assert server.log.count("Traceback") == 1, server.log.text
        assert server.log.count(r"^\s*RuntimeError: deliberately broken") == 1, server.log.text
        until(lambda: server.workers() == before, "the workers there were, and no others")
        assert "version=one" in server.get()
        server.rewrite(
            KINDS[kind], 'raise RuntimeError("deliberately broken")\nVERSION = "one"', 'VERSION = "two"'
        )
        server.reload()
        assert all(gone(pid) for pid in before)
        assert "version=two" in server.get()
        load.wait_ok(50)
    assert load.lost == 0, f"{load.verdict()}\n{server.log.text}"


@pytest.mark.parametrize("text", ["workers = 'many'\n", "workerz = 3\n", "workers = (\n", "1 / 0\n"])
def test_a_faulty_configuration_is_refused(serve: Serve, text: str) -> None:
    server = serve("wsgi_app", config="workers = 2\n")
    before = server.workers()
    server.write_config(text)
    server.reload(expect=r"reload failed")
    until(lambda: server.workers() == before, "the workers there were, and no others")
    assert "version=one" in server.get()
    server.write_config("workers = 1\n")
    server.reload()
    until(lambda: len(server.workers()) == 1, "1 worker")


def test_term_during_a_reload_still_stops(serve: Serve, options: list[str]) -> None:
    server = serve("-w", "4", *options)
    server.signal(signal.SIGHUP)
    assert server.stop() == 0


def test_a_burst_of_reloads_ends_in_one_set_of_workers(serve: Serve, options: list[str]) -> None:
    server = serve("-w", "2", *options)
    first = server.workers()
    for _ in range(5):
        server.signal(signal.SIGHUP)
    until(lambda: not first & server.workers() and len(server.workers()) == 2, "a new pair of workers")
    server.reload()
    until(lambda: len(server.workers()) == 2, "2 workers")
    assert re.search(r"version=one", server.get())


def test_a_worker_that_does_not_answer_well_fails_the_reload(
    serve: Serve, kind: str, options: list[str]
) -> None:
    """readiness_path: importing is not everything."""
    server = serve("-w", "2", "--readiness-path", "/ready", *options)
    before = server.workers()
    bad = 'path == "/ready":\n        1 / 0\n    elif path == "/hold"'
    server.rewrite(KINDS[kind], 'path == "/hold"', bad)
    with Load((server.host, server.port), 4, keepalive=False) as load:
        server.reload(expect=r"reload failed: .*readiness_path .*GET /ready was answered with 500")
        load.wait_ok(50)
    assert load.lost == 0
    assert server.log.count("ZeroDivisionError") >= 1
    until(lambda: server.workers() == before, "the workers there were, and no others")
    server.rewrite(KINDS[kind], "1 / 0", "pass")
    server.reload()


def test_a_worker_that_does_not_answer_at_all_fails_the_reload(
    serve: Serve, kind: str, options: list[str]
) -> None:
    server = serve("-w", "2", "--readiness-path", "/ready", "--boot-timeout", "8", *options)
    before = server.workers()
    hanging = 'path == "/ready":\n        __import__("threading").Event().wait()\n    elif path == "/hold"'
    server.rewrite(KINDS[kind], 'path == "/hold"', hanging)
    server.reload(expect=r"reload failed: .* not ready after boot_timeout = 8 s \(step: readiness .*/ready")
    until(lambda: server.workers() == before, "the workers there were, and no others")
    assert "version=one" in server.get()
