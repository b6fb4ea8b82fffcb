"""How soon a Django project is served, and what it takes of memory, beside gunicorn and uvicorn.

`python -m tests.compared [--site DIRECTORY] [--project NAME] [-n 3] [PATH ...]`, in an environment that has
arbiter and, as far as they are to be compared with, gunicorn and uvicorn. The site defaults to the example
project.
All servers take turns, so that what else the machine does hits each of them.

Sooner: seconds until the last of 32 workers says that it is ready. Smaller: PSS of all processes of 4 workers
after 1,000 requests, eight at a time, so that every worker has some; a page that several processes map counts
for each with its share. Arbiter is measured as it is, with warmup_paths (each eight times) and, where the
kernel merges equal pages (`echo 1 > /sys/kernel/mm/ksm/run`), with memory_merge, too, when that has looked a
few times.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.util
import itertools
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from arbiter.config import merging
from tests.processes.server import until
from tests.respawn import project

KEPT: Final = 4
AT_ONCE: Final = 8
PATIENCE: Final = 120.0
"""Seconds for any one thing."""
STARTED: Final = "Application startup complete"
KSM: Final = Path("/sys/kernel/mm/ksm")
MERGED: Final = "arbiter, memory_merge too"
LOOKS: Final = 6
"""A page is merged when the kernel has found it unchanged; it looks less often where it found nothing."""


class Site:
    """A project, and how each server is told to serve it."""

    def __init__(self, directory: Path, name: str, paths: Sequence[str], scratch: Path) -> None:
        self.directory = directory
        self.paths = paths
        self.scratch = scratch
        self.ready = self.scratch / "ready"
        self.log = self.scratch / "log"
        self._wsgi, self._asgi = f"{name}.wsgi:application", f"{name}.asgi:application"

    def commands(self) -> dict[str, Callable[[int, int], list[str]]]:
        """The servers there are: from the number of workers and a port to a command line."""
        hook = self.scratch / "conf.py"
        hook.write_text(f"def post_worker_init(worker):\n    open({str(self.ready)!r}, 'a').write('x')\n")
        warm = self.scratch / "warm.conf.py"
        warm.write_text(f"{hook.read_text()}warmup_paths = {list(self.paths)!r} * 8\n")
        merged = self.scratch / "merged.conf.py"
        merged.write_text(f"{warm.read_text()}memory_merge = True\n")

        def module(name: str, *more: str) -> Callable[[int, int], list[str]]:
            def command(workers: int, port: int) -> list[str]:
                where = ["-b", f"127.0.0.1:{port}", "-w", str(workers)]
                return [sys.executable, "-m", name, *where, *more, self._wsgi]

            return command

        def uvicorn(workers: int, port: int) -> list[str]:
            where = ["--port", str(port), "--workers", str(workers)]
            return [sys.executable, "-m", "uvicorn", *where, self._asgi]

        all_of_them = {
            "arbiter": module("arbiter", "-c", str(hook), "-k", "sync"),
            "arbiter, warmup_paths": module("arbiter", "-c", str(warm), "-k", "sync"),
            MERGED: module("arbiter", "-c", str(merged), "-k", "sync"),
            "gunicorn": module("gunicorn", "-c", str(hook)),
            "gunicorn --preload": module("gunicorn", "-c", str(hook), "--preload"),
            "uvicorn": uvicorn,
        }
        if not (self.directory / self._asgi.partition(".")[0] / "asgi.py").exists():
            del all_of_them["uvicorn"]
        if merging.obstacle():
            del all_of_them[MERGED]
        return {name: made for name, made in all_of_them.items() if _installed(name)}

    def count_ready(self) -> int:
        """How many workers have said by now that they are."""
        if self.ready.exists() and self.ready.stat().st_size:
            return self.ready.stat().st_size
        return self.log.read_text(errors="replace").count(STARTED)

    @contextmanager
    def served(self, command: Callable[[int, int], list[str]], workers: int) -> Iterator[tuple[int, int]]:
        """Have it served; the process id and the port, when all workers are ready."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.ready.unlink(missing_ok=True)
        with open(self.log, "w") as log:
            process = subprocess.Popen(
                command(workers, port), cwd=self.directory, stdout=log, stderr=log, start_new_session=True
            )
        try:
            until(lambda: self.count_ready() >= workers or process.poll() is not None, "workers", PATIENCE)
            assert process.poll() is None, self.log.read_text(errors="replace")
            yield process.pid, port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name.replace(",", "").split()[0]) is not None


def ask(port: int, path: str) -> None:
    """One request on a connection of its own."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    client.request("GET", path)
    answer = client.getresponse()
    answer.read()
    client.close()
    assert answer.status < 500, f"{path}: {answer.status}"


def pss(pid: int) -> float:
    """The share of memory of a process, MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def sooner(site: Site, command: Callable[[int, int], list[str]], workers: int) -> float:
    """Seconds until all workers are ready."""
    began = time.monotonic()
    with site.served(command, workers):
        return time.monotonic() - began


def scans() -> int:
    """How often the kernel has looked for equal pages."""
    return int((KSM / "full_scans").read_text())


def smaller(site: Site, command: Callable[[int, int], list[str]], requests: int, *, merged: bool) -> float:
    """MiB after so many requests."""
    with site.served(command, KEPT) as (pid, port):
        with ThreadPoolExecutor(AT_ONCE) as clients:
            list(clients.map(partial(ask, port), itertools.islice(itertools.cycle(site.paths), requests)))
        threading.Event().wait(2.0)  # what is done after an answer is done
        if merged:
            enough = scans() + LOOKS
            until(lambda: scans() >= enough, "the kernel's looks", 3 * PATIENCE)
        server = psutil.Process(pid)
        return sum(pss(process.pid) for process in (server, *server.children(recursive=True)))


def main() -> None:
    """Print a line for each server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, help="the directory of manage.py")
    parser.add_argument("--project", default="showcase", help="the package with wsgi.py and asgi.py")
    parser.add_argument("-n", "--times", type=int, default=3, help="starts of each (0: none)")
    parser.add_argument("-w", "--workers", type=int, default=32, help="that are started")
    parser.add_argument("--requests", type=int, default=1000, help="before memory is looked at")
    parser.add_argument("paths", nargs="*", default=["/"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        site = Site(given.site or project(scratch), given.project, given.paths, scratch)
        commands = site.commands()
        took: dict[str, list[float]] = {name: [] for name in commands}
        for name in list(commands) * given.times:
            took[name].append(sooner(site, commands[name], given.workers))
        for name, command in commands.items():
            seconds = f"{statistics.median(took[name]):6.2f} s" if took[name] else ""
            memory = smaller(site, command, given.requests, merged=name == MERGED)
            print(f"{name:26}{seconds:>10}{memory:10.1f} MiB", flush=True)


if __name__ == "__main__":
    main()
