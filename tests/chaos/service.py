"""A server of four workers that things are done to, and the account of what they may cost.

Whoever kills or hangs a worker here looks first, in /proc, which clients' connections that very worker has
accepted. A loss is explained if its connection was among them; nothing else is.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import psutil

from tests.processes.load import Load, Loss
from tests.processes.measures import descriptors
from tests.processes.server import DEADLINE, Server, gone, until

APPS = {"sync": "chaos_wsgi", "threaded": "chaos_wsgi", "asgi": "chaos_asgi"}
WORKERS = 4
BROKEN = 'raise RuntimeError("deliberately broken")\n'
HANGING = "import threading\n\nthreading.Event().wait()\n"

WHOLE = ("/c-code", "/leave", "/crash")
"""What a thread cannot do without taking its process along."""


@dataclass(frozen=True)
class Infliction:
    """What was done to a worker, and whose requests it may have cost."""

    what: str
    pid: int
    at: float
    ports: frozenset[int]
    ended: float = 0.0
    """Until when it went on dying. A signal that it catches, to write its stacks, leaves its threads a moment
    in which they accept: whose connection that was, nobody can tell."""

    def explains(self, loss: Loss) -> bool:
        """Whether the connection of that loss was in the worker at the time, or may have come to it since."""
        if self.at < loss.connected <= self.ended:
            return True
        return loss.port in self.ports and loss.connected <= self.at <= loss.at


def client_ports(pid: int, port: int) -> frozenset[int]:
    """The client's ends of the connections to `port` that the process has accepted."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:
            continue
        if found:
            inodes.add(found[1])
    ports = set()
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, _, _, _, _, _, inode, *_ = line.split()
        if inode in inodes and int(local.rpartition(":")[2], 16) == port:
            ports.add(int(remote.rpartition(":")[2], 16))
    return frozenset(ports - {0})


def stopped(pid: int) -> bool:
    """Whether all of the process's threads stand still."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all((thread / "stat").read_text().rpartition(")")[2].split()[0] in "TtZX" for thread in threads)


class Service:
    """The server, its application's text on the disk, and the inflictions so far."""

    def __init__(self, server: Server, kind: str) -> None:
        self.server = server
        self.kind = kind
        self.inflictions: list[Infliction] = []
        self._good = (server.directory / f"{APPS[kind]}.py").read_text()
        self._version = 1
        self._settings = ""

    # -- what an operator does

    def deploy(self, *, lead: str = "", settings: str = "") -> str:
        """Put another version of the application, and of the configuration, on the disk; its name."""
        self._version += 1
        text = re.sub(r'(?m)^VERSION = ".*"', f'VERSION = "{self._version}"', self._good)
        path = self.server.directory / f"{APPS[self.kind]}.py"
        fresh = path.with_suffix(".new")
        fresh.write_text(lead + text)
        fresh.replace(path)
        if settings != self._settings:
            self._settings = settings
            config = self.server.directory / "arbiter.conf.py"
            fresh = config.with_suffix(".new")
            fresh.write_text(CONFIG + settings)
            fresh.replace(config)
        return str(self._version)

    def reload(self, expect: str, timeout: float = 60.0) -> str:
        """HUP, and what the log says of it."""
        mark = self.server.mark()
        self.server.signal(signal.SIGHUP)
        return self.server.log.wait(expect, since=mark, timeout=timeout).string

    # -- what happens to a worker

    def kill(self, pid: int, number: int = signal.SIGKILL) -> Infliction | None:
        """kill -9, in such a way that it is known what the worker had; None if it has gone already."""
        inflicted = self.stop(pid, f"killed with {signal.Signals(number).name}")
        if inflicted is not None:
            for one in (number, signal.SIGCONT):
                send(pid, one)
            if number != signal.SIGKILL:
                gone(pid, DEADLINE)
                self.inflictions.remove(inflicted)
                inflicted = replace(inflicted, ended=monotonic())
                self.inflictions.append(inflicted)
        return inflicted

    def stop(self, pid: int, what: str = "stopped") -> Infliction | None:
        """SIGSTOP."""
        send(pid, signal.SIGSTOP)
        try:
            until(lambda: stopped(pid), f"stop of {pid}")
            return self._note(what, pid)
        except OSError:
            return None

    def hung(self, what: str, name: str) -> Infliction | None:
        """A request NAME has gone wrong somewhere; None if it never began."""
        try:
            path = until(lambda: next(self.server.directory.glob(f"{name}.*"), None), what, timeout=20.0)
        except AssertionError:
            return None
        pid = int(path.suffix[1:])
        try:
            if what in ("/leave", "/crash"):
                until(lambda: stopped(pid), f"pause of {pid}")
            return self._note(what, pid, whole=what in WHOLE or self.kind != "threaded")
        except OSError:
            return None
        finally:
            if what in ("/leave", "/crash"):
                send(pid, signal.SIGCONT)

    def _note(self, what: str, pid: int, *, whole: bool = True) -> Infliction:
        """One thread of a threaded worker that does not come back costs nobody else."""
        ports = client_ports(pid, self.server.port) if whole else frozenset[int]()
        inflicted = Infliction(what, pid, monotonic(), ports)
        self.inflictions.append(inflicted)
        return inflicted

    # -- the account

    def unexplained(self, loads: Iterable[Load]) -> list[Loss]:
        """The losses that nothing done here explains."""
        return [
            loss
            for load in loads
            for loss in load.losses
            if not any(one.explains(loss) for one in self.inflictions)
        ]

    def rest(self) -> list[str]:
        """What the arbiter holds once all is quiet."""
        until(self.quiet, "4 workers and nobody else", timeout=60.0)
        return descriptors(self.server.pid)

    def quiet(self) -> bool:
        """Whether there are the workers there should be and nothing is under way."""
        return len(self.server.workers()) == WORKERS and len(self.server.molds()) <= 1

    def left(self) -> list[str]:
        """Processes of the server's session that are still there after its end."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.server.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid} {' '.join(process.cmdline())}")
            except (OSError, psutil.NoSuchProcess):
                continue
        return found


CONFIG = f"""
workers = {WORKERS}
timeout = 2
boot_timeout = 20
graceful_timeout = 10
reload_soak = 0.1
rollback_keep = 4
max_requests = 0
"""


def options(kind: str) -> list[str]:
    """The command line for that kind."""
    threads = ["--threads", "4"] if kind == "threaded" else []
    return ["-k", kind, *threads, f"{APPS[kind]}:application"]


def started(directory: Path, kind: str, *more: str, settings: str = "") -> Server:
    """The server, to be entered."""
    return Server(directory, *more, *options(kind), config=CONFIG + settings)


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
