"""What a request costs: `make bench`, or `python -m tests.bench [--seconds 3] [--rounds 5] [server ...]`.

Each worker kind of arbiter, one worker, serves a hello application to wrk (or ab) over loopback; beside it
whichever peers are in the virtual environments of BENCH_PEERS (their paths, with colons between). One round
measures every server once; the next round begins with another one, so that what else the machine does meets
all alike. docs/benchmarks.md says how to read the table.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from tests.processes.server import ROOT, until

APPS = Path(__file__).parent
PINNED = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execvp(sys.argv[2], sys.argv[2:])"


@dataclass(frozen=True)
class Server:
    """A server and its command line, in which {port} stands for the port."""

    name: str
    command: list[str]


@dataclass(frozen=True)
class Turn:
    """What one server did in one round. busy: the share of a processor that it used."""

    cpu_us: float
    per_second: float
    busy: float


class Disappointment(Exception):
    """A server could not be measured, and why."""


# -- who is measured

_ARBITER = [sys.executable, "-m", "arbiter", "-b", "127.0.0.1:{port}", "-w", "1", "--no-control-socket"]
OURS = [
    Server("arbiter sync", [*_ARBITER, "-k", "sync", "hello:wsgi"]),
    Server("arbiter threaded", [*_ARBITER, "-k", "threaded", "--threads", "4", "hello:wsgi"]),
    Server("arbiter asgi", [*_ARBITER, "-k", "asgi", "hello:asgi"]),
]
PEERS = {
    "gunicorn sync": "gunicorn -b 127.0.0.1:{port} -w 1 -k sync hello:wsgi",
    "gunicorn gthread": "gunicorn -b 127.0.0.1:{port} -w 1 -k gthread --threads 4 hello:wsgi",
    "granian wsgi": "granian --interface wsgi --host 127.0.0.1 --port {port} --no-access-log hello:wsgi",
    "granian asgi": "granian --interface asgi --host 127.0.0.1 --port {port} --no-access-log hello:asgi",
    "uvicorn": "uvicorn --host 127.0.0.1 --port {port} --no-access-log hello:asgi",
    "hypercorn": "hypercorn -b 127.0.0.1:{port} -w 1 hello:asgi",
}
"""Access logs off, as ours is; for the rest as they come."""


def servers(environments: str) -> list[Server]:
    """Ours, and the peers that are installed in these virtual environments."""
    found = list(OURS)
    for name, line in PEERS.items():
        script, *options = line.split()
        for environment in filter(None, environments.split(":")):
            path = Path(environment).absolute() / "bin" / script
            if path.exists():
                found.append(Server(name, [str(path), *options]))
                break
    return found


# -- the load


def load_command(port: int, clients: int, seconds: int) -> list[str]:
    """The command line of the load; SystemExit if there is no program for it."""
    url = f"http://127.0.0.1:{port}/"
    if wrk := shutil.which("wrk"):
        return [wrk, "-t1", f"-c{clients}", f"-d{seconds}s", url]
    if ab := shutil.which("ab"):
        return [ab, "-q", "-k", f"-c{clients}", f"-t{seconds}", "-n100000000", url]
    raise SystemExit("bench: neither wrk nor ab is there to make the load (Debian: apt install wrk)")


_DONE = re.compile(r"^\s*(?:(\d+) requests in [\d.]+\w+|Complete requests:\s+(\d+))", re.M)
_RATE = re.compile(r"^(?:Requests/sec|Requests per second):\s+([\d.]+)", re.M)
_WRONG = re.compile(
    r"^\s*(Non-2xx.*|Failed requests:\s+[1-9].*|Socket errors:.*(?:connect|timeout) [1-9].*)", re.M
)


def read_load(said: str) -> tuple[int, float]:
    """How many requests were answered, and how many a second. Raises `Disappointment`."""
    done, rate, wrong = _DONE.search(said), _RATE.search(said), _WRONG.search(said)
    if wrong:
        raise Disappointment(wrong[1].strip())
    if done is None or rate is None or not int(done[1] or done[2]):
        raise Disappointment(f"the load says: {said.strip()[-300:] or 'nothing'}")
    return int(done[1] or done[2]), float(rate[1])


# -- one turn


def on(which: int, command: Sequence[str]) -> list[str]:
    """The command on the first or the second processor, if there are two."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return list(command) if len(cpus) < 2 else [sys.executable, "-c", PINNED, str(cpus[which]), *command]


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def spent(pid: int) -> float:
    """Seconds of processor time of a process and its descendants, also of those that they have reaped."""
    root, total = psutil.Process(pid), 0.0
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total


def answers(port: int) -> bool:
    """Whether the server answers as it should."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read() == b"Hello, world!\n"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def running(server: Server) -> Iterator[tuple[int, int]]:
    """The server, ready: its process id and port. It and all its children are gone afterwards."""
    port = free_port()
    command = on(0, [word.replace("{port}", str(port)) for word in server.command])
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(APPS), str(ROOT)])}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=APPS, env=environ, stdout=log, stderr=log)
        family = psutil.Process(process.pid)
        try:
            until(lambda: process.poll() is not None or answers(port), f"{server.name}'s first answer")
            if process.poll() is not None:
                log.seek(0)
                text = log.read().decode("utf-8", "replace").strip()
                raise Disappointment(f"it ended with status {process.returncode}: {text[-300:]}")
            yield process.pid, port
        finally:
            with suppress(psutil.NoSuchProcess):
                for one in [*family.children(recursive=True), family]:
                    one.kill()
            process.wait()


def turn(server: Server, clients: int, seconds: int) -> Turn:
    """Measure one server once. Raises `Disappointment`."""
    with running(server) as (pid, port):
        command = on(1, load_command(port, clients, seconds))
        before, began = spent(pid), time.monotonic()
        load = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
        used, took = spent(pid) - before, time.monotonic() - began
    done, rate = read_load(load.stdout + load.stderr)
    return Turn(used / done * 1e6, rate, used / took)


# -- the run


def run(measured: Sequence[Server], rounds: int, clients: int, seconds: int) -> dict[str, list[Turn]]:
    """Every server once a round, each round beginning with another one."""
    turns: dict[str, list[Turn]] = {server.name: [] for server in measured}
    for number in range(rounds):
        first = number % len(measured)
        for server in [*measured[first:], *measured[:first]]:
            try:
                turns[server.name].append(turn(server, clients, seconds))
            except (Disappointment, AssertionError, psutil.Error, subprocess.TimeoutExpired) as why:
                print(f"bench: {server.name}, round {number + 1}: {why}", file=sys.stderr)
    return turns


def table(turns: dict[str, list[Turn]]) -> str:
    """Medians, the cheapest first."""
    rows = sorted((median(one.cpu_us for one in some), name, some) for name, some in turns.items() if some)
    lines = ["| server | CPU us a request | requests/s | busy |", "| --- | ---: | ---: | ---: |"]
    for cpu_us, name, some in rows:
        rate, busy = median(one.per_second for one in some), median(one.busy for one in some)
        lines.append(f"| {name} | {cpu_us:.1f} | {rate:,.0f} | {busy:.0%} |")
    return "\n".join(lines)


def main() -> int:
    """Print the table; 1 if a server could not be measured at all."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=3, help="of load a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--clients", type=int, default=32, help="connections, kept where the server keeps them"
    )
    parser.add_argument(
        "servers", nargs="*", help="names, or how they begin; all that are installed without one"
    )
    given = parser.parse_args()
    there = servers(os.environ.get("BENCH_PEERS", ""))
    measured = [one for one in there if not given.servers or one.name.startswith(tuple(given.servers))]
    if not measured:
        parser.error(f"there are {', '.join(one.name for one in there)}; others are not installed")
    load_command(0, 1, 1)
    turns = run(measured, given.rounds, given.clients, given.seconds)
    print(table(turns))
    return 0 if all(turns.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
