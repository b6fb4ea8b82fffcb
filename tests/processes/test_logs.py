"""Logs of real servers: rotated under load, on full disks, into full pipes; nothing is lost in silence, and
no request waits for one.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.processes.load import Load
from tests.processes.server import KINDS, ROOT, Held, Server, until

Serve = Callable[..., Server]
LOGROTATE = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can")


def lines(*paths: Path) -> list[str]:
    """All lines of the files, whole ones only."""
    text = "".join(path.read_text() for path in paths)
    assert text == "" or text.endswith("\n")
    return text.splitlines()


def _holds(path: Path, text: str) -> bool:
    return text in path.read_text()


def file_logs(server: Server, tmp_path: Path) -> tuple[Path, Path]:
    """The logs of a server that writes to error.log and access.log, once it is ready."""
    error, access = tmp_path / "error.log", tmp_path / "access.log"
    until(lambda: error.exists() and "arbiter ready" in error.read_text(), "readiness in the log file")
    found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", error.read_text())
    assert found is not None
    server.port = int(found[1])
    return error, access


def with_stream(number: int, fd: int) -> list[str]:
    """A prefix that runs a command with `fd` for one of its standard streams (dash knows one digit only)."""
    script = (
        "import os, sys; os.dup2(int(sys.argv[2]), int(sys.argv[1])); os.execvp(sys.argv[3], sys.argv[3:])"
    )
    return [sys.executable, "-c", script, str(number), str(fd)]


TO_FILES = ("--error-logfile", "error.log", "--access-logfile", "access.log")


# -- rotation


def test_rotation_under_load_loses_no_line(serve: Serve, tmp_path: Path, options: list[str]) -> None:
    server = serve("-w", "2", *TO_FILES, *options, ready=False)
    error, access = file_logs(server, tmp_path)
    with Load((server.host, server.port), 4, keepalive=True) as load:
        for number in range(5):
            load.wait_ok(30)
            access.rename(tmp_path / f"access.{number}")
            error.rename(tmp_path / f"error.{number}")
            server.signal(signal.SIGUSR1)
            until(lambda: error.exists() and "logs reopened" in error.read_text(), "a fresh error log")
            load.wait_ok(30)
            until(lambda: access.exists() and access.read_text(), "lines in a fresh access log")
    assert load.lost == 0, load.verdict()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    logged = lines(*tmp_path.glob("access.*"))
    said = "\n".join(lines(*tmp_path.glob("error.*")))  # would tell of lines that were dropped
    assert len(logged) == load.counts["ok"], said
    assert all(' "GET / HTTP/1.1" 200 ' in line for line in logged), said


@pytest.mark.skipif(LOGROTATE is None, reason="logrotate is not installed")
def test_the_shipped_logrotate_configuration(serve: Serve, tmp_path: Path) -> None:
    logs, run = tmp_path / "var", tmp_path / "run"
    logs.mkdir()
    run.mkdir()
    text = (ROOT / "configs" / "logrotate.conf").read_text()
    for path, here in (("/var/log/arbiter", logs), ("/run/arbiter", run)):
        assert path in text
        text = text.replace(path, str(here))
    config = tmp_path / "logrotate.conf"
    config.write_text(text)
    config.chmod(0o644)
    named = ("--error-logfile", f"{logs}/error.log", "--access-logfile", f"{logs}/access.log")
    server = serve("-p", f"{run}/arbiter.pid", *named, "wsgi_app", ready=False)
    error, access = file_logs(server, logs)
    for path in ("/before-1", "/before-2"):
        server.get(path)
        until(partial(_holds, access, path), "the line")
        command = [str(LOGROTATE), "--force", "--state", str(tmp_path / "state"), str(config)]
        subprocess.run(command, check=True, timeout=60, capture_output=True)
        until(lambda: error.exists() and "logs reopened" in error.read_text(), "a fresh error log")
        until(access.exists, "a fresh access log")
        until(lambda: server.get("/x") and "/x " in access.read_text(), "lines in the fresh file")
    assert "/before-2" in (logs / "access.log.1").read_text()
    assert (logs / "access.log.2.gz").exists()


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user may enter (pytest's own are private)."""
    with tempfile.TemporaryDirectory(prefix="arbiter-test-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@as_root
def test_rotation_after_a_change_of_user(serve: Serve, public: Path, options: list[str]) -> None:
    """gunicorn #1116: the workers' user could not open the file that root had made."""
    nobody = pwd.getpwnam("nobody")
    # Imported by the arbiter, for where this test runs the interpreter may be readable to root alone.
    config = "import subprocess, asyncio, uvloop\nfrom arbiter.workers.dispatch import pool, tasks, turns\n"
    user = ("-u", "nobody", "-g", str(nobody.pw_gid))
    server = serve(*user, *TO_FILES, *options, config=config, directory=public, ready=False)
    error, access = file_logs(server, public)
    server.get("/before")
    until(lambda: "/before" in access.read_text(), "the line")
    for path in (error, access):
        path.rename(path.with_suffix(".1"))
    server.signal(signal.SIGUSR1)
    until(lambda: error.exists() and "logs reopened" in error.read_text(), "a fresh error log")
    until(lambda: server.get("/after") and "/after" in access.read_text(), "lines in the fresh file")
    assert access.stat().st_uid == nobody.pw_uid
    assert "cannot be opened" not in error.read_text()


# -- what cannot be written


def test_a_full_disk_costs_lines_and_nothing_else(serve: Serve, options: list[str]) -> None:
    """gunicorn.md 2.10: there it costs 2 KB of traceback per request."""
    server = serve("--access-logfile", "/dev/full", *options)
    with Load((server.host, server.port), 4, keepalive=True) as load:
        load.wait_ok(300)
    assert load.lost == 0, load.verdict()
    server.log.wait("the access log cannot be written: No space left on device")
    assert server.log.count("access log") == 1
    assert server.stop() == 0
    assert server.log.count("lines? of the access log could not be written before the end") == 1
    assert len(server.log.lines) < 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, timeout=30).returncode != 0:
        pytest.skip("this user may not mount")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=30)


def fill(path: Path) -> None:
    """Use up what there is of the disk."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    with contextlib.suppress(OSError):
        while True:
            os.write(fd, b"x" * 512)
    os.close(fd)


def test_a_disk_that_is_full_for_a_while(
    serve: Serve, small_disk: Path, kind: str, options: list[str]
) -> None:
    """What the buffer holds is written when there is room again; the rest is counted and told."""
    log, ballast = small_disk / "access.log", small_disk / "ballast"
    config = f"accesslog = {str(log)!r}\naccess_log_buffer = '64K'\naccess_log_format = '%(U)s %({{x}}i)s'\n"
    server = serve(*options, config=config)
    server.get("/first")
    until(lambda: "/first" in log.read_text(), "the line")
    fill(ballast)
    sent = 0
    while server.log.count("the access log cannot be written") == 0 or sent < 300:
        assert server.request("GET", f"/{sent}", headers={"X": "x" * 900})[0] == 200
        sent += 1
    ballast.unlink()

    def back() -> bool:
        nonlocal sent
        sent += 1
        server.get("/last")
        return "/last" in log.read_text()

    until(back, "the last line")
    assert server.stop() == 0
    told = re.findall(r"the access log is written again; (\d+) lines? w(?:as|ere) dropped", server.log.text)
    dropped = sum(map(int, told))
    assert dropped > 0
    paths = [line.split()[0] for line in lines(log)]
    assert paths[0] == "/first"
    assert paths[-1] == "/last"
    assert len(paths) == sent - dropped + 1


def test_a_pipe_that_nobody_reads(serve: Serve, kind: str, options: list[str]) -> None:
    """The access log on standard output, and whoever should read it does not."""
    read, write = os.pipe()
    prefix = with_stream(1, write)
    config = "accesslog = '-'\naccess_log_buffer = '1M'\naccess_log_format = '%(m)s %({x}i)s'\n"
    try:
        server = serve(*options, config=config, prefix=prefix, pass_fds=[write])
        os.close(write)
        sent = 300
        for _ in range(sent):
            assert server.request("GET", "/", headers={"X": "x" * 7000})[0] == 200
        server.log.wait("the access log cannot be written: its reader does not keep up")
        os.set_blocking(read, False)
        got = b""

        def recovered() -> bool:
            nonlocal got
            try:
                got += os.read(read, 1 << 20)
            except BlockingIOError:
                pass
            return server.log.count("the access log is written again") == 1

        until(recovered, "the pipe in use again")
        found = server.log.wait(r"written again; (\d+) lines? w(?:as|ere) dropped")
        until(lambda: recovered() and got.count(b"\n") == sent - int(found[1]), "all lines but those told")
        assert int(found[1]) > 0
        assert server.stop() == 0
    finally:
        os.close(read)


def test_an_error_log_that_nobody_reads_does_not_hold_up_the_arbiter(serve: Serve, tmp_path: Path) -> None:
    """Its own standard error is a full pipe; it still reloads, replaces workers and stops."""
    (tmp_path / "loud.py").write_text(
        "def application(environ, start_response):\n"
        "    print('x' * 1000)\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        read, write = os.pipe()
        prefix = with_stream(2, write)
        server = serve(
            "--capture-output",
            "loud",
            bind=f"fd://{listener.fileno()}",
            prefix=prefix,
            pass_fds=[write, listener.fileno()],
            ready=False,
        )
        os.close(write)
        server.port = listener.getsockname()[1]
        for _ in range(300):
            assert server.request("GET", "/")[0] == 200
        before = until(server.workers, "a worker")
        server.signal(signal.SIGHUP)
        until(lambda: server.workers() and not server.workers() & before, "new workers")
        assert server.request("GET", "/")[0] == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        os.close(read)


# -- what is in them

PRINTS = """
import os, sys
print("while importing")
def application(environ, start_response):
    print("out", environ["PATH_INFO"])
    print("err", environ["PATH_INFO"], file=sys.stderr)
    environ["wsgi.errors"].write("through wsgi.errors\\n")
    if environ["PATH_INFO"] == "/die":
        os.write(1, b"many\\n" * 1000 + b"last words")
        os._exit(7)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def test_what_workers_print(serve: Serve, tmp_path: Path) -> None:
    """capture_output: under the worker's name, line by line, and not lost with the worker."""
    (tmp_path / "prints.py").write_text(PRINTS)
    server = serve("--capture-output", "prints")
    server.get("/x")
    named = r"\[worker 1 \(gen 1, pid \d+\)\] "
    server.log.wait(r"\[mold \(gen 1, pid \d+\)\] \[stdout\] while importing")
    server.log.wait(named + r"\[stdout\] out /x")
    server.log.wait(named + r"\[stderr\] err /x")
    server.log.wait(named + r"\[wsgi.errors\] through wsgi.errors")
    mark = server.mark()
    with pytest.raises((ConnectionError, OSError)):
        server.request("GET", "/die")
    server.log.wait("exited with status 7, unasked")
    server.log.wait("ready", since=mark)
    said = [line for line in server.log.lines[mark:] if "[stdout]" in line]
    assert sum(line.endswith("] many") for line in said) == 1000
    died = next(n for n, line in enumerate(server.log.lines) if "exited with status 7" in line)
    assert server.log.lines[died - 1].endswith("[stdout] last words")


def test_every_line_is_json(serve: Serve, tmp_path: Path, options: list[str]) -> None:
    server = serve("-w", "2", "--log-format", "json", *TO_FILES, "--capture-output", *options, ready=False)
    error, access = tmp_path / "error.log", tmp_path / "access.log"
    until(lambda: error.exists() and '"arbiter.ready"' in error.read_text(), "readiness")
    records = [json.loads(line) for line in lines(error)]
    server.port = int(next(r["url"] for r in records if r["event"] == "arbiter.listening").rpartition(":")[2])
    status, _ = server.request("GET", '/a"b?c', headers={"User-Agent": 'x"\\y'})
    server.request("GET", "/", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
    server.signal(signal.SIGHUP)
    until(lambda: '"reload.done"' in error.read_text(), "the reload")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    names = [json.loads(line)["event"] for line in lines(error)]
    assert names[0] == "arbiter.starting"
    assert {"arbiter.listening", "worker.ready", "arbiter.ready", "reload.done", "worker.ended"} <= set(names)
    assert names[-1] == "arbiter.stopped"
    requests = [json.loads(line) for line in lines(access)]
    requests.sort(key=lambda one: one["target"], reverse=True)  # of two workers, each with its own buffer
    assert len(requests) == 2
    assert (requests[0]["target"], requests[0]["user_agent"], requests[0]["status"]) == (
        '/a"b?c',
        'x"\\y',
        status,
    )
    assert (requests[1]["trace_id"], requests[1]["parent_id"]) == ("ab" * 16, "cd" * 8)
    assert {one["worker"] for one in requests} <= {1, 2}


def test_syslog(serve: Serve, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        daemon.settimeout(30)
        server = serve(
            *("--log-syslog", "--log-syslog-to", f"unix://{tmp_path}/log", "--log-syslog-prefix", "shop"),
            *("--log-syslog-facility", "local3", "wsgi_app"),
        )
        server.get("/x")
        messages: list[str] = []
        while not any("/x " in message for message in messages):
            messages.append(daemon.recv(9999).decode())
        assert any(
            re.fullmatch(rf"<158>arbiter\.shop\.error: \[{server.pid}\] Starting arbiter .*", message)
            for message in messages
        )
        assert re.fullmatch(
            r'<158>arbiter\.shop\.access: \[\d+\] 127\.0\.0\.1 .*"GET /x HTTP/1\.1" 200 .*', messages[-1]
        )
        assert server.stop() == 0


ECHO = {
    "wsgi": """
def application(environ, start_response):
    body = environ.get("HTTP_X_REQUEST_ID", "").encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
""",
    "asgi": """
async def application(scope, receive, send):
    assert scope["type"] == "http"
    body = b",".join(value for name, value in scope["headers"] if name == b"x-request-id")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
""",
}


def test_request_ids(serve: Serve, tmp_path: Path, kind: str, options: list[str]) -> None:
    """Kept from a trusted peer, made for others; the application and the access log have the same."""
    (tmp_path / "echo.py").write_text(ECHO["asgi" if kind == "asgi" else "wsgi"])
    settings = "request_id_header = 'X-Request-ID'\naccess_log_format = '%({x-request-id}i)s %(U)s'\n"
    options = [*options[:-1], "echo:application", "--access-logfile", "access.log"]
    access = tmp_path / "access.log"
    server = serve(*options, config=settings)
    assert server.request("GET", "/kept", headers={"X-Request-ID": "mine-1"}) == (200, "mine-1")
    made = server.get("/made")
    assert re.fullmatch("[0-9a-f]{32}", made)
    until(lambda: len(lines(access)) == 2, "two lines")
    assert lines(access) == ["mine-1 /kept", f"{made} /made"]
    server.stop()
    distrustful = serve(*options, config=settings + "forwarded_allow_ips = ['10.0.0.1']\n")
    status, made = distrustful.request("GET", "/distrusted", headers={"X-Request-ID": "mine-2"})
    assert status == 200
    assert re.fullmatch("[0-9a-f]{32}", made)


@pytest.mark.parametrize("kind", ["threaded", "asgi"])
def test_a_request_that_is_cut_has_its_line(serve: Serve, tmp_path: Path, kind: str) -> None:
    config = "graceful_timeout = 1\naccess_log_format = '%(U)s %(X)s'\naccesslog = 'access.log'\n"
    server = serve("-k", kind, "--threads", "4", f"{KINDS[kind]}:application", config=config)
    held = Held(server, "a")
    try:
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    finally:
        held.close()
    (line,) = lines(tmp_path / "access.log")
    path, _, why = line.partition(" ")
    assert path == "/hold"
    assert "graceful_timeout" in why


def test_paths_left_out(serve: Serve, tmp_path: Path, options: list[str]) -> None:
    server = serve(
        *options, config="accesslog = 'access.log'\naccess_log_exclude = ['/healthz', '/static/*']\n"
    )
    for path in ("/healthz", "/static/x", "/seen"):
        server.get(path)
    server.stop()
    assert collections.Counter(line.split()[6] for line in lines(tmp_path / "access.log")) == {"/seen": 1}


def test_a_reload_with_a_broken_logconfig_changes_nothing(serve: Serve, tmp_path: Path) -> None:
    server = serve("wsgi_app", config="accesslog = 'access.log'\n")
    server.write_config("logconfig_dict = {'handlers': {'x': {'class': 'no.such.Thing'}}}\n")
    server.reload(expect="reload failed: ")
    assert "no.such" in server.log.text
    server.get("/still-here")
    until(lambda: "/still-here" in (tmp_path / "access.log").read_text(), "the line")


def test_a_reload_moves_the_logs(serve: Serve, tmp_path: Path, options: list[str]) -> None:
    """New workers write to the new file from the start, although the reload is not over by then."""
    server = serve(*options, config="accesslog = 'one.log'\n")
    server.get("/one")
    server.write_config("accesslog = 'two.log'\n")
    old = server.workers()
    server.reload()
    until(lambda: not server.workers() & old, "the end of the old workers")
    server.get("/two")
    assert server.stop() == 0
    assert ["/one" in line for line in lines(tmp_path / "one.log")] == [True]
    assert ["/two" in line for line in lines(tmp_path / "two.log")] == [True]
