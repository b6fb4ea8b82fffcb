"""USR2: the program is replaced under the same pid, its workers and listeners survive; or nothing changes."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.processes.installed import Change, Installed
from tests.processes.load import Load
from tests.processes.server import DEADLINE, ROOT, WORKER, Held, Server, children_of, gone, until

Serve = Callable[..., Server]

TIMES = int(os.environ.get("ARBITER_UPGRADES", "1"))
"""How often to upgrade under load."""
LOOKS = 20
"""At the number of descriptors, all of which must be equal."""


@pytest.fixture
def serve(serve: Serve) -> Serve:
    """With a short soak, for each upgrade ends with a reload, and that is not what is tested here."""

    def start(*options: str, **how: Any) -> Server:
        return serve(*options, **{**how, "env": {"ARBITER_RELOAD_SOAK": "0.1", **how.get("env", {})}})

    return start


def upgrade(server: Server, expect: str = r"reload done: generation \d+", pid: int = 0) -> None:
    """USR2, and wait for what the log is expected to say of it."""
    mark = server.mark()
    os.kill(pid or server.pid, signal.SIGUSR2)
    server.log.wait(expect, since=mark)


def descriptors(pid: int) -> int:
    """How many descriptors a process has when it rests: it reads files of /proc in between."""
    seen: list[int] = []

    def rests() -> bool:
        seen.append(len(os.listdir(f"/proc/{pid}/fd")))
        return len(seen) >= LOOKS and len(set(seen[-LOOKS:])) == 1

    until(rests, "a constant number of descriptors")
    return seen[-1]


BROKEN = "cli/main.py", "import json\n", "import json\nimport no_such_dependency\n"


def test_under_load_nothing_is_lost(serve: Serve, options: list[str], installed: Installed) -> None:
    """USR2 under load, keep-alive and closing clients; every second time what is installed is broken."""
    server = serve("-w", "2", "--rollback-keep", "0", *options, env={"PYTHONPATH": str(installed.link)})
    installed.copy("broken", BROKEN)
    installed.switch(ROOT)
    address, before = (server.host, server.port), descriptors(server.pid)
    started = psutil.Process(server.pid).create_time()
    with Load(address, 3, keepalive=True) as kept, Load(address, 3, keepalive=False) as closing:
        for _ in range(TIMES):
            upgrade(server)
            kept.wait_ok(20)
            installed.switch(installed.link.parent / "broken")
            upgrade(server, "upgrade failed: .*cannot take over; all goes on as it was")
            installed.switch(ROOT)
            closing.wait_ok(20)
        kept.wait_ok(50)
    assert kept.lost == 0, f"{kept.verdict()}\n{server.log.text}"
    assert closing.lost == 0, f"{closing.verdict()}\n{server.log.text}"
    assert server.log.count("No module named 'no_such_dependency'") == TIMES
    assert server.log.count("upgrade done: arbiter") == TIMES
    assert psutil.Process(server.pid).create_time() == started
    until(lambda: len(server.workers()) == 2, "2 workers and no more")
    until(lambda: descriptors(server.pid) == before, f"{before} descriptors, as before")
    assert server.stop() == 0


def asked(scraper: http.client.HTTPConnection) -> str:
    scraper.request("GET", "/livez")
    return scraper.getresponse().read().decode().strip()


def test_another_version_takes_over_and_says_so(serve: Serve, installed: Installed, tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(installed.link)}
    server = serve("-w", "1", "-p", "a.pid", "--metrics-bind", "127.0.0.1:0", "wsgi_app", env=env)
    installed.copy("next", ("version.py", '__version__ = "', '__version__ = "9.'))
    server.rewrite("wsgi_app", '"one"', '"two"')
    where = str(tmp_path / "a.ctl")
    metrics = server.log.wait(r"Metrics at: http://(\S+):(\d+)")
    scraper = http.client.HTTPConnection(metrics[1], int(metrics[2]), timeout=DEADLINE)
    assert asked(scraper) == "live"
    sock = scraper.sock
    text = server.ctl("upgrade", "--wait", socket=where)
    assert asked(scraper) == "live" and scraper.sock is sock, "a connection at rest stays open"
    scraper.close()
    assert re.search(r"arbiter 9\.\S+ on Python \S+ has taken over from arbiter \d", text)
    assert text.rstrip().endswith("reload done: generation 2")
    assert server.ctl("version", socket=where).startswith("arbiter 9.")
    assert (tmp_path / "a.pid").read_text() == f"{server.pid}\n"
    until(lambda: "version=two" in server.get(), "the new code")
    assert "upgrade.asked" in server.ctl("events", socket=where), "the journal goes on"
    assert "rollback done" in server.ctl("rollback", "--wait", socket=where)
    until(lambda: "version=one" in server.get(), "the mold of the old program's code")
    assert server.stop() == 0
    assert not (tmp_path / "a.pid").exists()


PROVED = "    os.write(errand.verdict, "
FAULTS: list[tuple[Change, str]] = [
    (
        ("supervisor/handover.py", "FORM: Final = 1\n", "FORM: Final = 999\n"),
        r"hands its state over in form 1; .* knows form 999",
    ),
    (
        ("supervisor/heir.py", PROVED, f"    time.sleep(1000)\n{PROVED}"),
        "not prove itself within boot_timeout",
    ),
    (("workers/dispatch/tasks.py", "import asyncio\n", "import asyncio, no_such_module\n"), "no_such_module"),
]


@pytest.mark.parametrize(("change", "why"), FAULTS, ids=["another form", "hangs", "half installed"])
def test_what_cannot_take_over_changes_nothing(
    serve: Serve, installed: Installed, change: Change, why: str
) -> None:
    patience = ["--boot-timeout", "3"] if "boot_timeout" in why else []
    server = serve("-w", "1", *patience, "wsgi_app", env={"PYTHONPATH": str(installed.link)})
    before, count = server.workers(), descriptors(server.pid)
    installed.copy("other", change)
    text = server.ctl("upgrade", "--wait", status=1)
    assert re.search(why, text), text
    assert "all goes on as it was" in text
    assert server.workers() == before and "pid=" in server.get()
    until(lambda: descriptors(server.pid) == count, "the descriptors there were")
    expected = before | server.molds()
    until(lambda: {one.pid for one in psutil.Process(server.pid).children()} == expected, "no one else")


def test_a_broken_configuration_changes_nothing(serve: Serve) -> None:
    server = serve("wsgi_app", config="workers = 2\n")
    before = server.workers()
    server.write_config("workers = 'many'\n")
    text = server.ctl("upgrade", "--wait", status=1)
    assert "workers = 'many'" in text
    server.write_config("workers = 3\n")
    server.ctl("upgrade", "--wait")
    until(lambda: len(server.workers()) == 3 and not before & server.workers(), "3 new workers")


def test_a_virtual_environment_behind_a_link(serve: Serve, tmp_path: Path) -> None:
    """The interpreter is found by the path it was started by; one that does not run is refused."""
    environment = tmp_path / "venv"
    environment.symlink_to(sys.prefix)
    server = serve("-w", "1", "wsgi_app", python=str(environment / "bin" / "python"))
    bad = tmp_path / "bad"
    (bad / "bin").mkdir(parents=True)
    (bad / "bin" / "python").write_text("#!/bin/sh\necho this is no Python >&2\nexit 3\n")
    (bad / "bin" / "python").chmod(0o755)
    environment.unlink()
    environment.symlink_to(bad)
    assert "this is no Python" in server.ctl("upgrade", "--wait", status=1)
    (bad / "bin" / "python").chmod(0o644)
    assert "Permission denied" in server.ctl("upgrade", "--wait", status=1)
    assert "pid=" in server.get()
    environment.unlink()
    environment.symlink_to(sys.prefix)
    server.ctl("upgrade", "--wait")


def test_the_console_script_behind_a_link(serve: Serve, tmp_path: Path) -> None:
    """A script is started by its own path, so that it finds its own interpreter."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        script = tmp_path / name / "arbiter"
        text = f"#!{sys.executable}\nimport os\nos.environ['WHICH'] = {name!r}\n"
        script.write_text(f"{text}from arbiter.__main__ import main\nmain()\n")
        script.chmod(0o755)
    link = tmp_path / "bin"
    link.symlink_to(tmp_path / "one")
    prefix = [sys.executable, "-c", "import os, sys; os.execv(sys.argv[1], [sys.argv[1], *sys.argv[5:]])"]
    server = serve("-w", "1", "wsgi_app", prefix=[*prefix, str(link / "arbiter")])
    assert " WHICH=one\n" in server.get("/environ?WHICH")
    link.unlink()
    link.symlink_to(tmp_path / "two")
    upgrade(server)
    until(lambda: " WHICH=two\n" in server.get("/environ?WHICH"), "the other script")


DYING = """
import os, signal
def pre_exec(server):
    os.kill(min(server.WORKERS), signal.SIGKILL)
"""


def test_a_worker_that_dies_between_the_programs_is_replaced(serve: Serve) -> None:
    server = serve("-w", "2", "wsgi_app", config=DYING)
    mark = server.mark()
    upgrade(server)
    server.log.wait(r"worker \d \(gen 1, pid \d+\) was killed by SIGKILL, unasked", since=mark)
    until(lambda: len(server.workers()) == 2, "2 workers")

    def statuses() -> list[str]:
        return [child.status() for child in psutil.Process(server.pid).children()]

    until(lambda: psutil.STATUS_ZOMBIE not in statuses(), "everybody reaped")
    assert server.stop() == 0


def test_signals_between_the_programs_are_not_lost(serve: Serve) -> None:
    """What comes while one program goes and the other is not yet there waits for it."""
    config = "import os, signal\ndef pre_exec(server):\n    os.kill(os.getpid(), signal.SIGTERM)\n"
    server = serve("-w", "1", "wsgi_app", config=config)
    upgrade(server, r"stopping \(signal TERM\)")
    assert server.wait() == 0
    assert server.log.count("upgrade done") == 1


BREAKING = """
workers = 2
def pre_exec(server):
    with open("arbiter.conf.py", "w") as file:
        file.write("workers = 'many'\\n")
"""


def test_a_configuration_that_breaks_between_the_programs_is_waited_for(serve: Serve) -> None:
    server = serve("wsgi_app", config=BREAKING)
    before = server.workers()
    upgrade(server, "The workers serve on; trying again")
    assert "pid=" in server.get() and server.workers() == before
    assert server.log.count("workers = 'many'") == 1
    server.write_config("workers = 1\n")
    server.log.wait("reload done: generation 2")
    until(lambda: len(server.workers()) == 1 and not before & server.workers(), "one new worker")
    assert server.stop() == 0


def test_a_stop_while_it_is_waited_for(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    server = serve("wsgi_app", config=BREAKING, bind=f"unix:{path}")
    before = server.workers() | server.molds()
    upgrade(server, "The workers serve on; trying again")
    assert server.stop() == 0
    assert all(gone(pid) for pid in before)
    assert not path.exists()


def test_nobody_outlives_the_new_program(serve: Serve) -> None:
    """PR_SET_PDEATHSIG and the lifeline outlive the exec, for workers of the old program, too."""
    server = serve("-w", "2", "wsgi_app")
    server.rewrite("wsgi_app", "VERSION =", "1 / 0\nVERSION =")
    upgrade(server, "reload failed: .*generation 1 goes on")
    left = server.workers() | server.molds()
    assert len(left) >= 2
    server.signal(signal.SIGKILL)
    assert all(gone(pid) for pid in left)


def test_a_daemon_whose_workers_are_paused(serve: Serve, tmp_path: Path) -> None:
    options = ["-D", "-p", "a.pid", "--error-logfile", "error.log", "wsgi_app"]
    assert serve(*options, ready=False).wait() == 0
    pidfile, log = tmp_path / "a.pid", tmp_path / "error.log"
    until(lambda: log.exists() and "arbiter ready" in log.read_text(), "readiness in the log file")
    pid = int(pidfile.read_text())
    try:
        os.kill(pid, signal.SIGWINCH)
        until(lambda: not children_of(pid, WORKER), "no worker after WINCH")
        os.kill(pid, signal.SIGUSR2)
        until(lambda: "upgrade done" in log.read_text(), "the new program")
        assert pidfile.read_text() == f"{pid}\n" and not children_of(pid, WORKER)
        os.kill(pid, signal.SIGHUP)
        until(lambda: children_of(pid, WORKER), "a worker after HUP")
    finally:
        os.kill(pid, signal.SIGTERM)
        assert gone(pid)


def test_a_hook_that_raises_refuses(serve: Serve) -> None:
    server = serve("-w", "1", "wsgi_app", config="def pre_exec(server):\n    1 / 0\n")
    text = server.ctl("upgrade", "--wait", status=1)
    assert "the hook pre_exec raised ZeroDivisionError" in text
    assert server.ctl("ping")


def test_old_workers_go_on_under_the_new_program(serve: Serve) -> None:
    """The application is broken by now: the arbiter is new, the workers stay, and who dies is replaced from
    the mold of the generation there was; requests in work, and what is printed, go on as well.
    """
    server = serve("-w", "1", "--capture-output", "--preload", "asgi_app")
    (old,) = server.workers()
    (mold,) = server.molds()
    server.rewrite("asgi_app", "VERSION =", 'raise RuntimeError("deliberately broken")\nVERSION =')
    with Held(server, "a") as held:
        text = server.ctl("upgrade", "--wait", status=1)
        assert "deliberately broken" in text and "upgrade done" in text
        assert server.workers() == {old} and server.molds() == {mold}
        held.let_go()
        assert held.answer().status == 200
    os.kill(old, signal.SIGKILL)
    until(lambda: server.workers() - {old}, "a successor")
    assert "version=one" in server.get()
    assert server.stop() == 0
    assert gone(mold)


def test_who_follows_events_follows_on(serve: Serve) -> None:
    server = serve("-w", "1", "wsgi_app")
    where = str(next((server.runtime / "arbiter").glob("*.ctl")))
    command = [sys.executable, "-m", "arbiter.cli.ctl", "--socket", where, "events", "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=server.directory, text=True) as follower:
        try:
            assert follower.stdout is not None
            upgrade(server)
            for line in follower.stdout:
                if "reload.done" in line:
                    break
        finally:
            follower.kill()


def test_settings_that_need_an_upgrade(serve: Serve, tmp_path: Path) -> None:
    server = serve("wsgi_app", config="workers = 1\npidfile = 'a.pid'\n")
    server.write_config("workers = 1\npidfile = 'b.pid'\ncontrol_socket = 'b.ctl'\n")
    server.reload("pidfile has changed; only an upgrade .USR2. or a restart puts it in force")
    server.log.wait("reload done: generation 2")
    assert (tmp_path / "a.pid").exists()
    server.ctl("upgrade", "--wait", socket=str(tmp_path / "a.ctl"))
    assert not (tmp_path / "a.pid").exists()
    assert (tmp_path / "b.pid").read_text() == f"{server.pid}\n"
    assert "arbiter" in server.ctl("version", socket=str(tmp_path / "b.ctl"))
    assert server.stop() == 0
    assert not (tmp_path / "b.pid").exists() and not (tmp_path / "b.ctl").exists()


def test_under_a_service_manager(serve: Serve, tmp_path: Path) -> None:
    """sd_notify(3): RELOADING, then READY with the same MAINPID; never STOPPING."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(DEADLINE)
        server = serve("-w", "1", "wsgi_app", env={"NOTIFY_SOCKET": path})

        def told() -> str:
            return manager.recv(4096).decode().partition("\nSTATUS")[0]

        assert told() == f"READY=1\nMAINPID={server.pid}"
        upgrade(server)
        assert told().startswith("RELOADING=1")
        assert told() == f"READY=1\nMAINPID={server.pid}"


def test_as_pid_1(serve: Serve) -> None:
    command = ["unshare", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None:
        pytest.skip("unshare (util-linux) is not installed")
    if subprocess.run([*command, "true"], capture_output=True, timeout=30).returncode != 0:
        pytest.skip("this user may not make PID namespaces")
    server = serve("-w", "1", "wsgi_app", prefix=command)
    (arbiter,) = until(lambda: psutil.Process(server.pid).children(), "a process in the namespace")
    with Load((server.host, server.port), 2, keepalive=False) as load:
        upgrade(server, pid=arbiter.pid)
        load.wait_ok(20)
    assert load.lost == 0, load.verdict()
    assert psutil.Process(server.pid).children() == [arbiter]
    os.kill(arbiter.pid, signal.SIGTERM)
    assert server.wait() == 0
