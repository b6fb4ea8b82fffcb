"""A hook that raises is told with its traceback, ends what it belongs to, and nothing else.

In gunicorn a bug in most of these takes the site down, and so does sys.exit().
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from arbiter.errors import ExitStatus
from tests.processes.server import Server, gone, until
from tests.processes.test_diagnosis import STUCK, send

Serve = Callable[..., Server]

HARMLESS = {
    "on_reload": "server",
    "when_ready": "server",
    "nworkers_changed": "server, new, old",
    "child_exit": "server, worker",
    "worker_exit": "server, worker",
    "worker_int": "worker",
    "worker_abort": "worker",
    "pre_request": "worker, req",
    "post_request": "worker, req, environ, resp",
    "on_exit": "server",
}
"""Each hook that belongs to nothing that could fail, and its parameters."""
STARTING = {"pre_fork": "server, worker", "post_fork": "server, worker", "post_worker_init": "worker"}
"""Those without which a worker does not start."""
BUGS = {"RuntimeError": "raise RuntimeError('bug in the hook')", "SystemExit": "raise SystemExit(3)"}


def hook(name: str, bug: str) -> str:
    parameters = HARMLESS.get(name) or STARTING.get(name) or "server"
    return f"def {name}({parameters}):\n    {BUGS[bug]}\n"


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("name", HARMLESS)
def test_it_is_told_and_the_service_goes_on(serve: Serve, name: str, bug: str) -> None:
    """Whatever calls them happens: requests, scaling, a reload, a stuck worker, the end."""
    server = serve("-w", "2", "-t", "1", "stuck_wsgi:application", config=hook(name, bug))
    server.signal(signal.SIGTTIN)
    server.log.wait(r"worker 3 \(gen 1, pid \d+\) ready")
    server.signal(signal.SIGTTOU)
    server.log.wait(r"worker \d \(gen 1, pid \d+\) ended \(scaled down\)")
    server.reload()
    assert "pid=" in server.get()
    if name == "worker_abort":
        until(lambda: len(server.workers()) == 2, "those that drain gone: timeout is not for them")
        with send(server, "/sleep"):
            assert gone(int(server.log.wait(r"pid (\d+)\) is stuck")[1]))
        until(lambda: len(server.workers()) == 2, "2 workers")
        assert "pid=" in server.get()
    server.signal(signal.SIGQUIT)
    assert server.wait() == 0
    assert server.log.count(f"hook {name} raised"), server.log.text
    assert server.log.count(bug), server.log.text


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("name", ["pre_request", "post_request", "worker_int", "worker_exit"])
def test_in_each_worker_kind(serve: Serve, kind: str, name: str, bug: str) -> None:
    options = ["-k", kind, *(["--threads", "2"] if kind == "threaded" else [])]
    server = serve("-w", "1", *options, f"{STUCK[kind]}:application", config=hook(name, bug))
    for _ in range(3):
        status, _ = server.request("GET", "/")
        assert status == (500 if (kind, name) == ("asgi", "pre_request") else 200)
    server.signal(signal.SIGQUIT)
    assert server.wait() == 0
    assert server.log.count(f"hook {name} raised"), server.log.text


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
@pytest.mark.parametrize("name", STARTING)
def test_at_a_reload_it_fails_the_reload(serve: Serve, name: str, preload: str, bug: str) -> None:
    server = serve("-w", "2", preload, "wsgi_app", config="# nothing yet\n")
    before = server.workers()
    server.write_config(hook(name, bug))
    server.reload(expect="reload failed")
    server.log.wait(bug)
    until(lambda: server.workers() == before, "the old workers and nobody else")
    assert "pid=" in server.get()


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("name", [*STARTING, "on_starting"])
def test_at_the_first_start_it_ends_the_start(serve: Serve, name: str, bug: str) -> None:
    server = serve("-w", "2", "wsgi_app", config=hook(name, bug), ready=False)
    assert server.wait() == (ExitStatus.CONFIG if name == "on_starting" else ExitStatus.BOOT)
    assert server.log.count(rf"in {name}$"), server.log.text
