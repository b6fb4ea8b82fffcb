"""A start that cannot succeed says why, in the operator's words, and with its own exit status."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from arbiter.errors import ExitStatus
from tests.processes.server import KINDS, Server, until

Serve = Callable[..., Server]


def refused(server: Server, status: ExitStatus, *says: str) -> str:
    """The start fails with that status, and the log holds each text; no arbiter frames, no own traceback."""
    assert server.wait() == status, server.log.text
    for text in says:
        assert text in server.log.text, server.log.text
    assert f"{os.sep}arbiter{os.sep}supervisor" not in server.log.text
    assert f"{os.sep}arbiter{os.sep}workers" not in server.log.text
    return server.log.text


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_module_anywhere\n", "No module named 'no_such_module_anywhere'"),
        ("def broken(:\n", "SyntaxError"),
        ('raise RuntimeError("deliberately broken")\n', "RuntimeError: deliberately broken"),
        ("other = 1\n", "application"),
        ("application = 3\n", "application"),
    ],
)
@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_broken_application(
    serve: Serve, tmp_path: Path, kind: str, source: str, says: str, workers: str
) -> None:
    (tmp_path / "broken.py").write_text(source)
    text = refused(
        serve("-k", kind, "-w", workers, "broken:application", ready=False), ExitStatus.APP, says, "broken"
    )
    assert text.count("CRITICAL") == 1, "said once, not once per worker"
    assert text.count("Traceback") <= 1


@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_why_it_failed_is_on_the_terminal_too(serve: Serve, tmp_path: Path, preload: str) -> None:
    (tmp_path / "broken.py").write_text('raise RuntimeError("deliberately broken")\n')
    server = serve(preload, "-w", "2", "--error-logfile", "error.log", "broken:application", ready=False)
    text = refused(server, ExitStatus.APP, "RuntimeError: deliberately broken", "broken.py")
    assert text.count("CRITICAL") == 1
    log = (tmp_path / "error.log").read_text()
    assert log.count("CRITICAL") == 1
    assert set(text.splitlines()) <= set(log.splitlines()), "as it is in the file, and nothing else"


def test_an_application_that_does_not_exist(serve: Serve) -> None:
    refused(serve("nowhere.wsgi:application", ready=False), ExitStatus.APP, "nowhere")


def test_an_asgi_worker_refuses_a_wsgi_application(serve: Serve) -> None:
    text = refused(serve("-k", "asgi", "wsgi_app:application", ready=False), ExitStatus.APP, "WSGI")
    assert "Traceback" not in text


def test_a_lifespan_that_refuses_to_start(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "unready.py").write_text(
        "async def application(scope, receive, send):\n"
        "    assert scope['type'] == 'lifespan'\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.failed', 'message': 'the database is asleep'})\n"
    )
    refused(serve("unready:application", ready=False), ExitStatus.BOOT, "the database is asleep")


def test_an_address_in_use(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = refused(serve("wsgi_app", bind=address, ready=False), ExitStatus.LISTEN, address, "in use")
    assert "Traceback" not in text


def test_an_address_of_another_machine(serve: Serve) -> None:
    refused(serve("wsgi_app", bind="192.0.2.1:8000", ready=False), ExitStatus.LISTEN, "192.0.2.1:8000")


def test_a_unix_socket_in_no_directory(serve: Serve) -> None:
    refused(serve("wsgi_app", bind="unix:missing/a.sock", ready=False), ExitStatus.LISTEN, "missing/a.sock")


def test_a_missing_user(serve: Serve) -> None:
    server = serve("-u", "nobody-of-that-name", "wsgi_app", ready=False)
    assert server.wait() in (ExitStatus.IDENTITY, ExitStatus.CONFIG)
    assert "nobody-of-that-name" in server.log.text
    assert "Traceback" not in server.log.text


def test_a_log_that_cannot_be_written(serve: Serve) -> None:
    text = refused(
        serve("--error-logfile", "missing/error.log", "wsgi_app", ready=False),
        ExitStatus.FILES,
        "missing/error.log",
    )
    assert "Traceback" not in text


def test_a_pidfile_that_cannot_be_written(serve: Serve) -> None:
    refused(serve("-p", "missing/a.pid", "wsgi_app", ready=False), ExitStatus.FILES, "missing/a.pid")


def test_all_faults_of_a_configuration_at_once(serve: Serve) -> None:
    config = "workers = 'many'\n\ntimeout = -1\nworkerz = 3\n"
    text = refused(
        serve("wsgi_app", config=config, ready=False),
        ExitStatus.CONFIG,
        "arbiter.conf.py:1",
        "timeout",
        "workerz",
    )
    assert "'many'" in text
    assert "workers" in text.split("workerz", 1)[1], "the nearest known name is proposed"


@pytest.mark.parametrize("content", ["", "garbage\n", "{dead}\n"])
def test_a_stale_pidfile_is_replaced(serve: Serve, tmp_path: Path, content: str) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    pidfile = tmp_path / "a.pid"
    pidfile.write_text(content.format(dead=dead.pid))
    server = serve("-p", "a.pid", "wsgi_app")
    assert int(pidfile.read_text()) == server.pid
    assert server.stop() == 0
    assert not pidfile.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a process is")
def test_a_pidfile_that_names_another_program_is_replaced(serve: Serve, tmp_path: Path) -> None:
    """After a crash, or a start of the machine, anybody may have got the id."""
    other = subprocess.Popen(["sleep", "600"])
    try:
        (tmp_path / "a.pid").write_text(f"{other.pid}\n")
        server = serve("-p", "a.pid", "wsgi_app")
        assert int((tmp_path / "a.pid").read_text()) == server.pid
        assert server.log.count(f"taken over: process {other.pid}, which it names, is no arbiter") == 1
    finally:
        other.kill()
        other.wait()


def test_a_pidfile_of_a_running_arbiter_is_respected(serve: Serve, tmp_path: Path) -> None:
    first = serve("-p", "a.pid", "wsgi_app")
    second = serve("-p", "a.pid", "wsgi_app", ready=False)
    assert second.wait() != 0
    assert str(first.pid) in second.log.text
    assert int((tmp_path / "a.pid").read_text()) == first.pid
    assert "pid=" in first.get()


def test_a_worker_that_dies_at_boot_does_not_storm(serve: Serve, tmp_path: Path, kind: str) -> None:
    """Once something has served, a crash at boot is retried with back-off and the log stays calm."""
    name = KINDS[kind]
    server = serve("-k", kind, "-w", "1", "--no-preload", f"{name}:application")
    (tmp_path / "crash").touch()
    server.rewrite(name, "VERSION =", "os.path.exists('crash') and os._exit(9)\nVERSION =")
    mark = server.mark()
    (worker,) = server.workers()
    os.kill(worker, 9)
    server.log.wait(r"(?i)back|again in|retry|next try", since=mark)
    assert len(server.log.lines) - mark < 40, server.log.text
    (tmp_path / "crash").unlink()
    assert "pid=" in until(lambda: server.get(timeout=20), "service after the repair")
