"""arbiterctl top on a terminal of 80 columns, looking at a real arbiter.

With ARBITER_CAPTURE=1 in the environment the picture goes into docs/control.md.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable

import pytest

from arbiter.control.render import headings
from tests.fakes.screen import Screen
from tests.processes.load import Load
from tests.processes.server import ROOT, Held, Server
from tests.ready import ready

Serve = Callable[..., Server]
PAGE = ROOT / "docs" / "control.md"
PICTURE = re.compile(r"(<!-- captured by tests/processes/test_top\.py -->\n```\n).*?(```\n)", re.DOTALL)


class Terminal:
    """A program on a terminal of its own, and what it shows."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self.screen = Screen(80, 24)
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            os.execve(sys.executable, [sys.executable, *arguments], env)

    def until(self, pattern: str) -> str:
        """The screen, as soon as the pattern is found on it."""
        self.read(lambda: re.search(pattern, self.screen.text), f"{pattern!r}")
        return self.screen.text

    def read(self, condition: Callable[[], object], what: str = "that") -> None:
        """Read what is written until the condition holds."""
        end = time.monotonic() + 30
        while not condition():
            left = end - time.monotonic()
            assert left > 0, f"{what} is not shown:\n{self.screen.text}"
            if ready([self.fd], left):
                self.screen.feed(os.read(self.fd, 65536).decode())

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def end(self) -> int:
        """Read to the end; the exit status."""
        while True:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                break
            if not data:
                break
            self.screen.feed(data.decode())
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def top_of(server: Server) -> tuple[list[str], dict[str, str]]:
    """The arguments and the environment of a `top` of that server."""
    path = server.log.wait(r"Control socket at: (\S+)")[1]
    env = {**server._env, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    return ["-m", "arbiter.cli.ctl", "--socket", path, "top"], env


def test_top_in_80_columns(serve: Serve) -> None:
    server = serve("-w", "4", "-k", "threaded", "--threads", "4", "-n", "shop", "wsgi_app")
    terminal = Terminal(*top_of(server))
    server.reload()
    with Load((server.host, server.port), 3, keepalive=True) as load, Held(server, "report"):
        load.wait_ok(500)
        terminal.until(r"last reload: done")
        picture = terminal.until(r"s at GET /hold\?report")
        titles = next(line for line in picture.splitlines() if "STATE" in line)
        assert titles.replace("^", " ").split() == headings().split()
        assert "4 of 4 workers serve" in picture
        terminal.press("\x1b[Bt")
        terminal.until(r"most recent call first|in arbiter\)")
        terminal.press("x+")
        terminal.until(r"scale-up .*4 -> 5 workers")
    terminal.press("q")
    assert terminal.end() == 0
    assert not terminal.screen.other
    assert not terminal.screen.cursor_hidden
    if os.environ.get("ARBITER_CAPTURE"):
        shown = "\n".join(line.rstrip() for line in picture.splitlines()).rstrip()
        PAGE.write_text(PICTURE.sub(lambda found: f"{found[1]}{shown}\n{found[2]}", PAGE.read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_end_it_gives_the_terminal_back(serve: Serve, number: signal.Signals) -> None:
    terminal = Terminal(*top_of(serve("-w", "1", "wsgi_app")))
    terminal.until(r"1 of 1 worker serves")
    assert terminal.screen.other
    os.kill(terminal.pid, number)
    assert terminal.end() == 128 + number
    assert not terminal.screen.other
    assert not terminal.screen.cursor_hidden


SHELL = """
import os, signal, sys, termios
modes = termios.tcgetattr(0)
modes[3] &= ~termios.ECHO
termios.tcsetattr(0, termios.TCSANOW, modes)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
while os.WIFSTOPPED(status := os.waitpid(pid, os.WUNTRACED)[1]):
    os.tcsetpgrp(0, os.getpgrp())
    input()
    os.tcsetpgrp(0, pid)
    os.kill(pid, signal.SIGCONT)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""What a shell does with a program in its foreground: when that is suspended, a line brings it back."""


def test_suspended_it_gives_the_terminal_back(serve: Serve) -> None:
    arguments, env = top_of(serve("-w", "1", "wsgi_app"))
    terminal = Terminal(["-c", SHELL, *arguments], env)
    for _ in range(2):
        terminal.until(r"1 of 1 worker serves")
        assert terminal.screen.other
        terminal.press("\x1a")
        terminal.read(lambda: not terminal.screen.other)
        assert not terminal.screen.cursor_hidden
        terminal.press("\n")  # of use only on a terminal that edits lines
        terminal.read(lambda: terminal.screen.other)
    terminal.press("q")
    assert terminal.end() == 0


def test_the_picture_in_the_docs_is_of_this_top() -> None:
    found = PICTURE.search(PAGE.read_text())
    assert found is not None
    lines = found[0].splitlines()
    titles = next(line for line in lines if "STATE" in line)
    assert titles.replace("^", " ").split() == headings().split()
    assert max(len(line) for line in lines) <= 80
    assert any("?:keys" in line for line in lines)


def test_without_a_terminal_it_says_so(serve: Serve) -> None:
    server = serve("wsgi_app")
    assert "status" in server.ctl("top", status=2)
