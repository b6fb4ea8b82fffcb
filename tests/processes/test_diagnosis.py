"""A worker that is stuck, slow, stopped or dead says why; the others do not notice."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.server import DEADLINE, Server, gone, until

Serve = Callable[..., Server]

STUCK = {"sync": "stuck_wsgi", "threaded": "stuck_wsgi", "asgi": "stuck_asgi"}


@pytest.fixture
def stuck(kind: str) -> list[str]:
    """The command line for two workers of a kind that are given two seconds."""
    threads = ["--threads", "3"] if kind == "threaded" else []
    return ["-k", kind, *threads, "-w", "2", "-t", "2", f"{STUCK[kind]}:application"]


def send(server: Server, path: str) -> socket.socket:
    """A request that is not waited for."""
    sock = socket.create_connection((server.host, server.port), timeout=DEADLINE)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    return sock


@pytest.mark.parametrize("path", ["/sleep", "/c-code", "/loop"])
def test_a_stuck_worker_is_diagnosed_and_replaced(
    serve: Serve, kind: str, stuck: list[str], path: str
) -> None:
    """Also in C code that holds the interpreter: its stack and its request, and a successor."""
    server = serve(*stuck)
    before = server.workers()
    with send(server, path):
        found = server.log.wait(r"worker \d \(gen 1, pid (\d+)\) is stuck: .*GET " + path)
        victim = int(found[1])
        assert victim in before
        assert gone(victim)
    server.log.wait(rf"pid {victim}\) .*in work: 'GET {path}'")
    text = server.log.text
    report = text[text.index("is stuck") :]
    assert re.search(rf'File ".*{STUCK[kind]}\.py", line \d+ in application', report)
    manner = "spinning" if path != "/sleep" else "blocked"
    assert manner in found.string
    until(lambda: len(server.workers()) == 2, "2 workers")
    assert "out of memory" not in text
    assert all("pid=" in server.get() for _ in range(5))


def test_the_others_do_not_notice(serve: Serve, stuck: list[str]) -> None:
    server = serve(*stuck[:-1], "--slow-request", "0.5", stuck[-1])
    with send(server, "/sleep"):
        server.log.wait("slow request")
        for _ in range(50):
            server.get(timeout=10)
        server.log.wait("is stuck")
        for _ in range(50):
            server.get(timeout=10)


def test_all_threads_of_a_worker_stuck(serve: Serve) -> None:
    server = serve("-k", "threaded", "--threads", "2", "-w", "1", "-t", "2", "stuck_wsgi:application")
    (only,) = server.workers()
    held = [send(server, "/sleep") for _ in range(2)]
    server.log.wait(rf"pid {only}\) is stuck: 'GET /sleep' has taken")
    assert f"pid={only}" not in server.get(timeout=DEADLINE)
    assert gone(only)
    for sock in held:
        sock.close()


def test_a_stuck_thread_lets_the_others_finish(serve: Serve) -> None:
    options = ["-k", "threaded", "--threads", "3", "-w", "1", "-t", "2", "stuck_wsgi:application"]
    server = serve(*options, "--graceful-timeout", "5")
    (only,) = server.workers()
    with send(server, "/sleep"):
        mark = server.mark()
        with send(server, "/slow") as slow:
            until(lambda: server.log.count("is stuck") == 1, "the diagnosis")
            assert slow.recv(100).startswith(b"HTTP/1.1 200")
        server.log.wait(rf"pid {only}\) ", since=mark)
        assert gone(only)
    server.log.wait(rf"pid {only}\) is ended after it was stuck: 'GET /sleep' .* nothing else to wait for")


def test_a_stuck_thread_that_nobody_else_waits_beside_is_not_drained_for_long(serve: Serve) -> None:
    """It ends as a sync worker does: hook worker_abort, and the record says at what it hung."""
    hook = "def worker_abort(worker):\n    worker.log.info('about to abort %d', worker.pid)\n"
    options = ["-k", "threaded", "--threads", "4", "-w", "1", "-t", "2", "stuck_wsgi:application"]
    server = serve(*options, "--graceful-timeout", "3600", config=hook)
    (only,) = server.workers()
    with send(server, "/sleep"):
        assert gone(only)
    server.log.wait(rf"about to abort {only}")
    server.log.wait(rf"pid {only}\) is ended after it was stuck: 'GET /sleep' \(\d\.\d s\) still in work")
    assert "did not end within" not in server.log.text


def test_a_slow_request_is_told_and_goes_on(serve: Serve, kind: str, stuck: list[str]) -> None:
    server = serve(*stuck[:-1], "-t", "30", "--slow-request", "1", stuck[-1])
    assert "pid=" in server.get("/slow")
    server.log.wait(r"slow request in worker \d \(gen 1, pid \d+\): 'GET /slow' has taken [12]\.\d s so far")
    report = server.log.text[server.log.text.index("slow request") :]
    assert re.search(rf'File ".*{STUCK[kind]}\.py", line \d+ in application', report), "where it waits"
    if kind == "asgi":
        assert re.search(r"Task .*: GET /slow, begun [12]\.\d s ago", report)
    assert "is stuck" not in server.log.text


def test_a_blocked_event_loop_is_told_with_the_line_that_blocks_it(serve: Serve) -> None:
    server = serve("-k", "asgi", "--loop-lag-warning", "0.3", "stuck_asgi:application")
    assert "pid=" in server.get("/block")
    server.log.wait(r"the event loop was blocked for [12]\.\d s")
    server.log.wait(r'File ".*stuck_asgi\.py", line \d+ in application')
    mark = server.mark()
    assert "pid=" in server.get("/slow")
    assert "blocked" not in "\n".join(server.log.lines[mark:]), "to wait is not to block"


def test_a_stopped_worker_is_left_alone(serve: Serve, stuck: list[str]) -> None:
    """Whoever stopped it (a debugger, an operator) knows why."""
    server = serve(*stuck)
    victim = min(server.workers())
    os.kill(victim, signal.SIGSTOP)
    try:
        server.log.wait(rf"pid {victim}\): .* but it is stopped: left alone")
    finally:
        os.kill(victim, signal.SIGCONT)
    until(lambda: any(f"pid={victim}" in server.get() for _ in range(20)), "the worker serves again")
    assert "is stuck" not in server.log.text


def test_a_request_that_exits_takes_its_worker_and_nobody_else(serve: Serve, stuck: list[str]) -> None:
    """os._exit(3) was a switch to turn gunicorn off with."""
    server = serve(*stuck)
    with send(server, "/exit") as sock:
        assert sock.recv(100) == b""
    server.log.wait(r"exited with status 3, unasked; in work: 'GET /exit'")
    until(lambda: len(server.workers()) == 2, "2 workers")
    assert "pid=" in server.get()


def test_a_crash_leaves_its_stack_and_the_request(serve: Serve, kind: str, stuck: list[str]) -> None:
    server = serve(*stuck)
    for _ in range(2):
        until(lambda: len(server.workers()) == 2, "2 workers")
        with send(server, "/crash") as sock:
            assert sock.recv(100) == b""
    server.log.wait(r"was killed by SIGSEGV.*, unasked; in work: 'GET /crash'")
    server.log.wait(r"poison request: 2 workers died while 'GET /crash' was in work")
    words = r"last words of worker \d \(gen 1, pid [1-9]\d*\):\n\s*Fatal Python error: Segmentation fault"
    assert re.search(words, server.log.text)
    assert f"{STUCK[kind]}.py" in server.log.text


def test_an_import_that_hangs_fails_the_reload(serve: Serve, kind: str, stuck: list[str]) -> None:
    server = serve(*stuck, config="# nothing yet\n")
    before = server.workers()
    server.write_config("boot_timeout = 2\n")
    server.rewrite(STUCK[kind], "import os\n", "import os\nimport threading\nthreading.Event().wait()\n")
    server.reload(expect=r"reload failed: .* is not ready after boot_timeout = 2 s .*generation 1 goes on")
    server.log.wait("hangs in ")
    assert f"{STUCK[kind]}.py" in server.log.text, "the line it hangs at"
    assert server.workers() >= before
    assert "pid=" in server.get()


def test_a_configuration_with_faults_is_refused_whole(serve: Serve) -> None:
    server = serve("wsgi_app", config="workers = 2\n")
    before = server.workers()
    server.write_config("workerz = 3\ntimeout = 'soon'\n")
    server.reload(expect="reload failed: 2 faults in the configuration")
    server.log.wait("arbiter.conf.py:1")
    server.log.wait("arbiter.conf.py:2")
    server.log.wait("generation 1 goes on")
    until(lambda: server.workers() == before, "the old workers and nobody else")


def test_a_configuration_that_exits_is_refused(serve: Serve) -> None:
    server = serve("wsgi_app", config="workers = 2\n")
    server.write_config("import os\nos._exit(0)\n")
    server.reload(expect="reload failed: the process that read the configuration died")
    assert "pid=" in server.get()


def test_logs_on_a_full_disk_do_not_stop_the_service(serve: Serve, tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    path = tmp_path / "app.sock"
    server = serve(
        "-w", "2", "--error-logfile", "/dev/full", "--access-logfile", "/dev/full", "wsgi_app",
        bind=f"unix:{path}", ready=False,
    )  # fmt: skip
    until(lambda: path.is_socket() and _answers(path), "an answer")
    server.signal(signal.SIGHUP)
    for _ in range(20):
        assert _answers(path)
    assert server.stop() == 0
    assert "Traceback" not in server.log.text


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        try:
            sock.connect(str(path))
        except ConnectionRefusedError:
            return False  # bound, and not yet listening
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return sock.recv(100).startswith(b"HTTP/1.1 200")


def test_a_request_has_a_limit_of_its_own(serve: Serve, kind: str, stuck: list[str]) -> None:
    """request_timeout: asgi answers 504 and goes on; elsewhere the worker is replaced."""
    server = serve(*stuck[:-1], "-t", "30", "--request-timeout", "1", stuck[-1])
    before = server.workers()
    path = "/slow" if kind == "asgi" else "/sleep"  # a thread that comes back in time still gives its answer
    with send(server, path) as sock:
        answer = sock.recv(100)
    if kind == "asgi":
        assert answer.startswith(b"HTTP/1.1 504 ")
        server.log.wait(r"GET /slow has taken .* \(request_timeout = 1 s\): cancelled, answered with 504")
        assert f"{STUCK[kind]}.py" in server.log.text
        assert server.workers() == before
    else:
        assert answer == b""
        server.log.wait(r"is stuck: 'GET /sleep' has taken \d\.\d s \(request_timeout = 1 s\); it is blocked")
        until(lambda: len(server.workers()) == 2, "2 workers")
    assert "pid=" in server.get()


def test_a_view_may_have_more_time(serve: Serve, stuck: list[str]) -> None:
    server = serve(*stuck[:-1], "-t", "30", "--request-timeout", "1", "--slow-request", "1", stuck[-1])
    assert "pid=" in server.get("/export")
    assert "is stuck" not in server.log.text
    assert "slow request" not in server.log.text
    assert "answered with 504" not in server.log.text
