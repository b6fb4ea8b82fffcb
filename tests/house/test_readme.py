"""Every command the README shows is run, where a reader would run it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.server import ROOT, Server

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"(?m)^```sh\n(.*?)^```", README, re.DOTALL)
    for line in block.splitlines()
    if line and not line.startswith("#")
]
CONFIG = next(
    block for block in re.findall(r"(?m)^```python\n(.*?)^```", README, re.DOTALL) if "bind" in block
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with what the quick starts name: a Django project, main.py, app.py, arbiter.conf.py."""
    command = [sys.executable, "-m", "django", "startproject", "mysite", "."]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    shutil.copy(ROOT / "examples/fastapi_app/main.py", tmp_path)
    shutil.copy(ROOT / "examples/flask_app/app.py", tmp_path)
    (tmp_path / "arbiter.conf.py").write_text(CONFIG)
    return tmp_path


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 5
    assert all(line.startswith("arbiter ") for line in COMMANDS)


@pytest.mark.parametrize("line", [*COMMANDS, "arbiter -w 4 mysite.asgi:application"])
def test_a_quick_start(project: Path, line: str) -> None:
    """As written; only the port is the kernel's choice."""
    with Server(project, *shlex.split(line)[1:]) as server:
        body = server.get("/")
        assert "install worked successfully" in body or '"says":' in body
        assert server.stop() == 0


def run(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "arbiter", *options],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_check_config(project: Path) -> None:
    assert run(project, "--check-config", "mysite.asgi:application").returncode == 0
    failed = run(project, "--check-config", "nowhere:application")
    assert failed.returncode == 4
    assert "nowhere" in failed.stdout + failed.stderr


def test_print_config(project: Path) -> None:
    ran = run(project, "--print-config", "-c", "arbiter.conf.py", "-w", "3")
    assert ran.returncode == 0
    line = next(line for line in ran.stdout.splitlines() if line.startswith("max_requests "))
    assert "10000" in line
    assert "arbiter.conf.py:" in line
    line = next(line for line in ran.stdout.splitlines() if line.startswith("workers "))
    assert "3" in line


def test_help() -> None:
    ran = run(ROOT, "--help")
    assert ran.returncode == 0
    assert "--worker-class" in ran.stdout


def _make(*words: str) -> list[str]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    # The environment these tests run in stands for the one that make would create; -o: do not install again.
    venv = Path(sys.prefix)
    return [
        "make",
        f"VENV={venv}",
        *(f"-o{venv}/{mark}" for mark in (".installed-run", ".installed-test")),
        *words,
    ]


@pytest.fixture
def marks() -> Iterator[None]:
    """make must not find its marks missing, or it would install."""
    fresh = [
        mark for name in ("run", "test") if not (mark := Path(sys.prefix) / f".installed-{name}").exists()
    ]
    for mark in fresh:
        mark.touch()
    yield
    for mark in fresh:
        mark.unlink()


@pytest.mark.usefixtures("marks")
def test_make_run(tmp_path: Path) -> None:
    """The first of the two commands, but for the port."""
    assert "    make run " in README
    server = Server(ROOT, env={"SHOWCASE_DB": str(tmp_path / "db.sqlite3")}, copy_apps=False)
    server.arguments = _make("run", "BIND=127.0.0.1:0")
    with server:
        assert "arbiter at work" in server.get("/")
        os.killpg(server.pid, signal.SIGINT)
        server.process.wait(60)


@pytest.mark.usefixtures("marks")
def test_make_test_runs_lint_and_everything() -> None:
    """The second runs this very test, so it is only asked what it would do."""
    assert "    make test " in README
    planned = subprocess.run(
        _make("-n", "test"), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    for command in ("ruff check .", "mypy", "-m pytest"):
        assert command in planned.stdout
