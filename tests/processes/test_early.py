"""Signals in the first moments of a start, before there is a loop that could take them."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.server import ROOT, Server, until

Serve = Callable[..., Server]

CONFIG = """
import os, signal, subprocess, sys
if not os.path.exists("seen"):
    open("seen", "w").close()
    for number in {signals}:
        os.kill(os.getpid(), number)
    with open("child", "w") as file:
        subprocess.run([sys.executable, "-c", "print(open('/proc/self/status').read())"], stdout=file)
"""
"""A configuration file, which the arbiter reads before it has its handlers; later others read it, too."""

STRAY = """
import os, signal, sys
if "arbiter.workers.mold" in sys.orig_argv:
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(os.getpid(), number)
"""
"""A sitecustomize: the first that an interpreter runs."""


def masks(status: str) -> dict[str, int]:
    """Signals blocked, ignored and caught, of a text of /proc/PID/status."""
    return {name: int(mask, 16) for name, mask in re.findall(r"^Sig(Blk|Ign|Cgt):\s*(\S+)$", status, re.M)}


def test_they_are_acted_on_once_the_loop_runs(serve: Serve, tmp_path: Path) -> None:
    signals = [
        int(n) for n in (signal.SIGTTIN, signal.SIGTTIN, signal.SIGUSR1, signal.SIGWINCH, signal.SIGHUP)
    ]
    server = serve("-w", "1", "wsgi_app", config=CONFIG.format(signals=signals))
    server.log.wait("reload done: generation 2")
    until(lambda: len(server.workers()) == 3, "one worker, and one more for each TTIN")
    assert "only a daemonized arbiter stops its workers" in server.log.text
    child = masks((tmp_path / "child").read_text())
    assert child["Blk"] == 0 and child["Cgt"] & ~(1 << signal.SIGINT - 1) == 0
    for number in signals:
        assert not child["Ign"] & 1 << number - 1
    for pid in {server.pid, *server.workers(), *server.molds()}:
        assert masks(Path(f"/proc/{pid}/status").read_text())["Blk"] == 0, f"{pid} has signals blocked"
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTOU])
def test_none_of_them_ends_it(serve: Serve, number: signal.Signals) -> None:
    server = serve("-w", "1", "wsgi_app", config=CONFIG.format(signals=[int(number)]))
    assert "pid=" in server.get()
    assert server.stop() == 0


def test_a_stray_one_does_not_cost_a_mold(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(STRAY)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    server = serve("-w", "1", "--preload", "wsgi_app", env={"PYTHONPATH": path})
    assert "pid=" in server.get()
    (mold,) = server.molds()
    assert masks(Path(f"/proc/{mold}/status").read_text())["Blk"] == 0
    assert server.stop() == 0
