"""How evenly workers share connections, as a table: `python -m tests.balance [-w 4 -w 8] [-n 10] [kind ...]`.

Short connections: one request each, by eight clients at a time. Kept ones: opened in a burst, and one after
the other, one request each, then held. The share of a worker is the part of the requests that it answered.
With -n, the largest and the smallest share that any worker had in so many runs.
"""

from __future__ import annotations

import argparse
import collections
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.processes.server import Server

APPS = {"sync": "stuck_wsgi", "threaded": "stuck_wsgi", "asgi": "stuck_asgi"}
TIMEOUT = 30.0

Shares = collections.Counter[int]


def request(sock: socket.socket, path: str = "/", *, keep: bool) -> None:
    connection = "keep-alive" if keep else "close"
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n".encode())


def answerer(sock: socket.socket) -> int:
    """The pid in the answer."""
    data = b""
    while not (found := re.search(rb"pid=(\d+)\n", data)):
        more = sock.recv(65536)
        assert more, f"an answer was expected, not {data!r} and the end"
        data += more
    return int(found[1])


def short(address: tuple[str, int], count: int, clients: int = 8) -> Shares:
    """`count` closing connections."""
    shares: Shares = collections.Counter()
    left = iter(range(count))
    lock = threading.Lock()

    def client() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            with socket.create_connection(address, timeout=TIMEOUT) as sock:
                request(sock, keep=False)
                pid = answerer(sock)
            with lock:
                shares[pid] += 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return shares


def burst(address: tuple[str, int], count: int) -> Shares:
    """`count` connections, opened as fast as can be and held; then a request on each."""
    socks = [socket.create_connection(address, timeout=TIMEOUT) for _ in range(count)]
    return _ask_all(socks)


def paced(address: tuple[str, int], count: int) -> Shares:
    """`count` connections, each opened when the one before has been answered, and held."""
    shares: Shares = collections.Counter()
    socks = []
    for _ in range(count):
        sock = socket.create_connection(address, timeout=TIMEOUT)
        request(sock, keep=True)
        shares[answerer(sock)] += 1
        socks.append(sock)
    for sock in socks:
        sock.close()
    return shares


def _ask_all(socks: list[socket.socket]) -> Shares:
    for sock in socks:
        request(sock, keep=True)
    shares = collections.Counter(answerer(sock) for sock in socks)
    for sock in socks:
        sock.close()
    return shares


LOADS: dict[str, Callable[[tuple[str, int]], Shares]] = {
    "3000 short": lambda address: short(address, 3000),
    "100 kept, burst": lambda address: burst(address, 100),
    "200 kept, burst": lambda address: burst(address, 200),
    "400 kept, burst": lambda address: burst(address, 400),
    "400 kept, paced": lambda address: paced(address, 400),
}


def measure(kind: str, workers: int, times: int = 1) -> Iterator[tuple[str, list[float]]]:
    """Each load's name and the workers' shares of it in percent, the largest first; of several runs, the
    largest and the smallest.
    """
    threads = ["--threads", "4"] if kind == "threaded" else []
    with tempfile.TemporaryDirectory() as directory:
        options = ["-k", kind, "-w", str(workers), *threads, "--backlog", "2048", f"{APPS[kind]}:application"]
        for name, load in LOADS.items():
            runs = []
            for _ in range(times):
                with Server(Path(directory), *options) as server:
                    counts = load((server.host, server.port))
                    shares = [100 * counts.get(pid, 0) / counts.total() for pid in server.workers()]
                    runs.append(sorted(shares, reverse=True))
            yield name, runs[0] if times == 1 else [max(map(max, runs)), min(map(min, runs))]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-w", "--workers", type=int, action="append")
    parser.add_argument("-n", "--times", type=int, default=1)
    parser.add_argument("kinds", nargs="*", default=list(APPS))
    given = parser.parse_args()
    for kind in given.kinds:
        for workers in given.workers or [4, 8]:
            for name, shares in measure(kind, workers, given.times):
                text = " ".join(f"{share:5.1f}" for share in shares)
                print(f"{kind:9}{workers} workers  {name:18}{text}", flush=True)


if __name__ == "__main__":
    main()
