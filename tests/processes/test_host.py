"""The arbiter and its surroundings: sockets it is given, PID 1, daemon, titles, and its cost when idle."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.processes.load import Load
from tests.processes.server import MOLD, WORKER, Server, children_of, gone, until

Serve = Callable[..., Server]


def ask_unix(path: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(path)
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_a_unix_socket(serve: Serve, tmp_path: Path, options: list[str]) -> None:
    path = str(tmp_path / "a.sock")
    server = serve("-w", "2", *options, bind=f"unix:{path}")
    assert ask_unix(path).startswith(b"HTTP/1.1 200")
    with Load(path, 4, keepalive=True) as load:
        load.wait_ok(20)
        server.reload()
        load.wait_ok(20)
    assert load.lost == 0, load.verdict()
    assert server.stop() == 0
    assert not os.path.exists(path)


def test_a_stale_unix_socket_is_replaced(serve: Serve, tmp_path: Path) -> None:
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    serve("wsgi_app", bind=f"unix:{path}")
    assert ask_unix(path).startswith(b"HTTP/1.1 200")


def test_a_descriptor_by_number(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = serve("wsgi_app", bind=f"fd://{listener.fileno()}", pass_fds=[listener.fileno()])
        server.port = listener.getsockname()[1]
        assert "pid=" in server.get()
        server.reload()
        assert "pid=" in server.get()
        assert server.stop() == 0


ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What systemd does: the socket as descriptor 3, its count and owner in the environment, the same process."""


@pytest.fixture
def activated(serve: Serve) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        prefix = [sys.executable, "-c", ACTIVATE, str(number)]
        env = {"LISTEN_FDNAMES": "web"}
        server = serve("-w", "2", "wsgi_app", bind=None, prefix=prefix, pass_fds=[number], env=env)
        server.port = listener.getsockname()[1]
        yield server


def test_a_socket_passed_by_systemd(activated: Server) -> None:
    """sd_listen_fds(3)."""
    assert "pid=" in activated.get()
    activated.reload()
    assert "pid=" in activated.get()
    assert activated.stop() == 0


def test_the_variables_of_systemd_end_with_us(activated: Server) -> None:
    """A program the application starts must not think that it was socket-activated."""
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        assert f" {name}=\n" in activated.get(f"/environ?{name}")


def _ns_arbiter(server: Server) -> psutil.Process:
    """The arbiter below `unshare`, by its pid out here."""
    return until(lambda: psutil.Process(server.pid).children(), "a process in the namespace")[0]


@pytest.fixture
def unshare() -> list[str]:
    command = ["unshare", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None:
        pytest.skip("unshare (util-linux) is not installed")
    if subprocess.run([*command, "true"], capture_output=True, timeout=30).returncode != 0:
        pytest.skip("this user may not make PID namespaces")
    return command


def test_as_pid_1(serve: Serve, options: list[str], unshare: list[str]) -> None:
    """PID 1 has no default signal actions and inherits every orphan: TERM works, orphans are reaped."""
    server = serve("-w", "2", *options, prefix=unshare)
    arbiter = _ns_arbiter(server)
    for _ in range(5):
        server.get("/orphan")

    def only_workers() -> bool:
        living = [child for child in arbiter.children() if child.status() != psutil.STATUS_ZOMBIE]
        workers, molds = children_of(arbiter.pid, WORKER), children_of(arbiter.pid, MOLD)
        return len(workers) == 2 and {child.pid for child in living} == workers | molds

    until(only_workers, "the orphans reaped")
    mark = server.mark()
    os.kill(arbiter.pid, signal.SIGHUP)
    server.log.wait("reload done", since=mark)
    assert "pid=" in server.get()
    os.kill(arbiter.pid, signal.SIGTERM)
    assert server.wait() == 0


def test_daemon(serve: Serve, tmp_path: Path) -> None:
    server = serve("-D", "-p", "a.pid", "--error-logfile", "error.log", "wsgi_app", ready=False)
    assert server.wait() == 0
    pidfile, log = tmp_path / "a.pid", tmp_path / "error.log"
    until(lambda: pidfile.exists() and pidfile.read_text().strip(), "the pidfile")
    pid = int(pidfile.read_text())
    try:
        until(lambda: log.exists() and "arbiter ready" in log.read_text(), "readiness in the log file")
        assert os.getsid(pid) != os.getsid(0)
        found = [line for line in log.read_text().splitlines() if "Listening at: http://" in line]
        server.port = int(found[0].rpartition(":")[2].split()[0].strip("/"))
        assert "pid=" in server.get()
        os.kill(pid, signal.SIGWINCH)
        until(lambda: not children_of(pid, WORKER), "no worker after WINCH")
        os.kill(pid, signal.SIGHUP)
        until(lambda: children_of(pid, WORKER), "a worker after HUP")
        assert "pid=" in server.get()
        os.kill(pid, signal.SIGTERM)
        assert gone(pid)
        assert not pidfile.exists()
    finally:
        if psutil.pid_exists(pid):
            for process in [*psutil.Process(pid).children(), psutil.Process(pid)]:
                process.kill()


def test_usr1_opens_the_logs_again(serve: Serve, tmp_path: Path, options: list[str]) -> None:
    """logrotate: the old file is moved away, USR1, and both logs go on in a new one."""
    server = serve(
        "-w", "2", *options, "--error-logfile", "error.log", "--access-logfile", "access.log", ready=False
    )
    error, access = tmp_path / "error.log", tmp_path / "access.log"
    until(lambda: error.exists() and "arbiter ready" in error.read_text(), "readiness in the log file")
    line = next(line for line in error.read_text().splitlines() if "Listening at: http://" in line)
    server.port = int(line.rpartition(":")[2].split()[0].strip("/"))
    server.get("/before")
    until(lambda: "/before" in access.read_text(), "an access line")
    error.rename(tmp_path / "error.old")
    access.rename(tmp_path / "access.old")
    server.signal(signal.SIGUSR1)
    until(lambda: error.exists() and access.exists(), "fresh log files")

    def reopened() -> bool:
        server.get("/after")
        return "/after" in access.read_text()

    until(reopened, "an access line in the fresh file")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "stopped" in error.read_text()


def test_titles(serve: Serve) -> None:
    server = serve("-w", "2", "-n", "shop", "wsgi_app")
    assert psutil.Process(server.pid).cmdline()[0].startswith("arbiter: master [shop]")
    titles = sorted(psutil.Process(pid).cmdline()[0] for pid in server.workers())
    assert [title.split(" [")[0] for title in titles] == ["arbiter: worker 1", "arbiter: worker 2"]
    assert all("[shop]" in title for title in titles)


def switches(pid: int) -> int:
    """How often the process's threads went to sleep of their own accord, so far (proc(5))."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_idle_it_sleeps(serve: Serve, options: list[str]) -> None:
    """Under 2 wake-ups a second in all, with 4 workers."""
    server = serve("-w", "4", *options)
    server.get()
    pids = [server.pid, *server.workers()]
    # Let the start come to rest; then count over a stretch in which nobody asks for anything.
    assert not gone(server.pid, 3.0)
    began, before = time.monotonic(), {pid: switches(pid) for pid in pids}
    assert not gone(server.pid, 5.0)
    woken = {pid: switches(pid) - before[pid] for pid in pids}
    assert sum(woken.values()) < 2 * (time.monotonic() - began), woken


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_arbiter_is_small(serve: Serve, options: list[str]) -> None:
    """PSS under 18 MiB with 4 workers, who share nothing with it: it holds no application code."""
    server = serve("-w", "4", *options)
    server.get()
    rollup = Path(f"/proc/{server.pid}/smaps_rollup").read_text()
    pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    assert pss < 18 * 1024, f"{pss} KiB"


def test_close_on_exec(serve: Serve, options: list[str]) -> None:
    """A program that the application starts inherits no descriptor of ours but the standard three."""
    server = serve("-w", "1", *options)
    body = server.get("/descriptors")
    listed = {int(word) for word in body.split("descriptors=")[1].split()[0].split(",")}
    assert {fd for fd in listed if fd > 2} == set(), body
