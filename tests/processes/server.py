"""A real arbiter in a session of its own: started, listened to, signalled, and ended with all it left behind.

Nothing here sleeps: a test waits for a line of the log, for the death of a process or for a condition, and
every wait has a deadline that fails the test with the log in hand.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests.ready import ready

APPS = Path(__file__).parent / "apps"
ROOT = Path(__file__).parents[2]
DEADLINE = 30.0
"""Seconds after which a wait has failed; far beyond what anything here takes."""

KINDS = {"sync": "wsgi_app", "threaded": "wsgi_app", "asgi": "asgi_app"}
"""Each worker kind and the module, among `apps`, that it serves."""


WORKER = "arbiter: worker "
MOLD = "arbiter: mold "
"""How the titles of processes begin."""


def until(condition: Callable[[], Any], what: str = "the condition", timeout: float = DEADLINE) -> Any:
    """Return the first true value of the condition; fail when there is none by the deadline."""
    end = time.monotonic() + timeout
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true in {timeout:g} s")
        pause.wait(0.01)
    return value


def gone(pid: int, timeout: float = DEADLINE) -> bool:
    """Whether the process has ended by the deadline (a zombie has; its parent may be slow to reap)."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(ready([descriptor], timeout))
    finally:
        os.close(descriptor)


def children_of(pid: int, title: str) -> set[int]:
    """The pids of the living children whose title begins so."""
    found = set()
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE and " ".join(child.cmdline()).startswith(title):
                found.add(child.pid)
    return found


class Log:
    """What the server wrote, line by line, with waiting."""

    def __init__(self, stream: Any) -> None:
        self.lines: list[str] = []
        self.ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        with stream:
            for raw in stream:
                with self._news:
                    self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def count(self, pattern: str) -> int:
        """How many lines the pattern is found in."""
        return sum(1 for line in self.lines if re.search(pattern, line))

    def wait(self, pattern: str, since: int = 0, timeout: float = DEADLINE) -> re.Match[str]:
        """Return the first match in a line at or after index `since`; fail when none comes."""
        end = time.monotonic() + timeout
        with self._news:
            while True:
                for line in self.lines[since:]:
                    if found := re.search(pattern, line):
                        return found
                since = max(since, len(self.lines))
                left = end - time.monotonic()
                if left <= 0 or self.ended:
                    why = "the log has ended" if self.ended else f"{timeout:g} s have passed"
                    raise AssertionError(f"no line matches {pattern!r} and {why}; the log:\n{self.text}")
                self._news.wait(left)

    def join(self, timeout: float = DEADLINE) -> None:
        """Wait until every process that could write has ended."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise AssertionError(f"somebody still holds the log open after {timeout:g} s:\n{self.text}")


class Server:
    """`python -m arbiter` in `directory`, with the applications of `apps` copied into it.

    options: the command line after the program; `-b 127.0.0.1:0` is added unless a bind is among them.
    config: the text of an arbiter.conf.py; prefix: what to run the command under; ready=False: start only;
    python: the interpreter's path.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        config: str | None = None,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        bind: str | None = "127.0.0.1:0",
        ready: bool = True,
        copy_apps: bool = True,
        python: str = sys.executable,
    ) -> None:
        self.directory = directory
        for app in APPS.glob("*.py"):
            if copy_apps and not (directory / app.name).exists():
                shutil.copy(app, directory)
        arguments = [*prefix, python, "-m", "arbiter"]
        if config is not None:
            self.write_config(config)
            arguments += ["-c", "arbiter.conf.py"]
        if bind is not None:
            arguments += ["-b", bind]
        self.arguments = [*arguments, *options]
        # A run-time directory of its own, with a short name: a unix socket's path is at most 107 bytes long.
        self.runtime = Path(tempfile.mkdtemp(prefix="arbiter-test-"))
        self._env = {
            # A module rewritten within a second must not be taken from its .pyc.
            **{key: value for key, value in os.environ.items() if not key.startswith(("ARBITER", "DJANGO"))},
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(ROOT),
            "XDG_RUNTIME_DIR": str(self.runtime),
            **(env or {}),
        }
        self._pass_fds = pass_fds
        self._ready = ready
        self._families: dict[int, psutil.Process] = {}
        self.host, self.port = "127.0.0.1", 0

    def __enter__(self) -> Server:
        self.process = subprocess.Popen(
            self.arguments,
            cwd=self.directory,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self._pass_fds,
            start_new_session=True,
        )
        self.log = Log(self.process.stdout)
        try:
            if self._ready:
                self.wait_ready()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        if kind is not None:
            print(f"--- the log of {' '.join(self.arguments)}\n{self.log.text}\n---")

    def end(self) -> None:
        """Kill whatever is left of the session, without ceremony."""
        for process in self._family():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self.process.wait(DEADLINE)
        self.log.join()
        shutil.rmtree(self.runtime, ignore_errors=True)

    def _family(self) -> list[psutil.Process]:
        found = dict(self._families)
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.process.pid:
                    found[process.pid] = process
            except (ProcessLookupError, PermissionError):
                continue
        return [process for process in found.values() if process.is_running()]

    # ---- what is going on in it

    @property
    def pid(self) -> int:
        """The arbiter's."""
        return self.process.pid

    def wait_ready(self) -> None:
        """Wait until the first set of workers is ready, and learn the port."""
        self.log.wait(r"arbiter ready: \d+ workers?")
        if found := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", self.log.text):
            self.port = int(found[1])

    def workers(self) -> set[int]:
        """The pids of the living workers."""
        return children_of(self.pid, WORKER)

    def molds(self) -> set[int]:
        """The pids of the living molds."""
        return children_of(self.pid, MOLD)

    def mark(self) -> int:
        """A place in the log to wait from."""
        return len(self.log.lines)

    def signal(self, number: int) -> None:
        """Send the arbiter a signal."""
        os.kill(self.pid, number)

    def reload(self, expect: str = r"reload done: generation \d+") -> None:
        """HUP, and wait for what the log is expected to say of it."""
        mark = self.mark()
        self.signal(signal.SIGHUP)
        self.log.wait(expect, since=mark)

    def wait(self, timeout: float = DEADLINE) -> int:
        """The exit status, once the process has ended."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s; the log:\n{self.log.text}") from None
        self.log.join()
        return status

    def stop(self) -> int:
        """TERM, and the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    # ---- talking to it

    def ctl(
        self, *words: str, status: int | None = 0, socket: str | None = None, timeout: float = DEADLINE
    ) -> str:
        """What `arbiterctl` prints (of standard error, too); its exit status must be `status` (None: any)."""
        where = socket or str(next((self.runtime / "arbiter").glob("*.ctl")))
        done = subprocess.run(
            [sys.executable, "-m", "arbiter.cli.ctl", "--socket", where, *words],
            cwd=self.directory,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        text = done.stdout.decode("utf-8", "replace")
        if status is not None:
            assert done.returncode == status, f"{words} exits with {done.returncode}:\n{text}"
        return text

    def get(self, path: str = "/", timeout: float = DEADLINE) -> str:
        """The body of a 200; anything else fails."""
        status, body = self.request("GET", path, timeout=timeout)
        assert status == 200, f"{path} was answered {status}: {body}\n{self.log.text}"
        return body

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = DEADLINE,
    ) -> tuple[int, str]:
        """Status and body, over a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def write_config(self, text: str) -> None:
        (self.directory / "arbiter.conf.py").write_text(text)

    def rewrite(self, module: str, old: str, new: str) -> None:
        """Change a module of the application, in one step, as a deploy should."""
        path = self.directory / f"{module}.py"
        text = path.read_text()
        assert old in text
        fresh = path.with_suffix(".new")
        fresh.write_text(text.replace(old, new))
        fresh.replace(path)


class Held:
    """A request that stays in the application until it is let go."""

    def __init__(self, server: Server, name: str) -> None:
        self.started = server.directory / f"{name}.started"
        self._go = server.directory / f"{name}.go"
        self._connection = socket.create_connection((server.host, server.port), timeout=DEADLINE)
        self._connection.sendall(f"GET /hold?{name} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        until(self.started.exists, f"the start of the held request {name}")

    def let_go(self) -> None:
        self._go.touch()

    def answer(self) -> http.client.HTTPResponse:
        """The whole answer, its body read."""
        response = http.client.HTTPResponse(self._connection)
        response.begin()
        response.body = response.read()  # type: ignore[attr-defined]
        return response

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self.close()
