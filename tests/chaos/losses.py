"""What is lost, as a table: `python -m tests.chaos.losses [--times 20] [--kind asgi] [event ...]`.

Each event happens so many times to a server of four workers that is under the load of keep-alive and of
closing clients. Lost is a request that was not answered as it should be. What a kill -9 costs is compared
with what was in the worker: `explained` losses are those of connections that it had accepted. The status is
1 if there is any other loss.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.service import APPS, BROKEN, HANGING, WORKERS, Service, started
from tests.processes.load import Load, Loss
from tests.processes.server import until

CLIENTS = 4
"""Of each manner, with one request at a time."""
MANY = 32
"""Of each manner, where the arbiter is told to stop."""
BETWEEN = 20
"""Good answers, of each manner, between two events."""


@dataclass
class Account:
    """What so many events have cost."""

    events: int = 0
    answered: int = 0
    explained: int = 0
    unexplained: list[Loss] = field(default_factory=list)
    seconds: float = 0.0

    def take(self, service: Service, loads: tuple[Load, ...]) -> None:
        unexplained = service.unexplained(loads)
        self.answered += sum(load.counts["ok"] for load in loads)
        self.explained += sum(load.lost for load in loads) - len(unexplained)
        self.unexplained += unexplained


def good(service: Service) -> None:
    service.deploy()
    service.reload("reload done")


def broken(service: Service) -> None:
    service.deploy(lead=BROKEN)
    service.reload("reload failed: .*goes on")


def hanging(service: Service) -> None:
    service.deploy(lead=HANGING, settings="boot_timeout = 1\n")
    service.reload("reload failed: .*boot_timeout = 1 s.*goes on")


def bad(service: Service) -> None:
    service.deploy(settings="workerz = 3\n")
    service.reload("reload failed: 1 fault")


def scale(service: Service) -> None:
    service.server.ctl("scale", str(WORKERS + 1))
    until(lambda: len(service.server.workers()) == WORKERS + 1, "one more")
    service.server.ctl("scale", str(WORKERS))
    until(lambda: len(service.server.workers()) == WORKERS, "one less")


def recycle(service: Service) -> None:
    """max_requests comes by itself."""
    before = service.server.log.count(r"worker \d .* ended")
    until(lambda: service.server.log.count(r"worker \d .* ended") > before, "the end of a worker", 60.0)


def kill(service: Service) -> None:
    victim = random.choice(sorted(service.server.workers()))
    service.kill(victim)
    until(
        lambda: victim not in service.server.workers() and len(service.server.workers()) == WORKERS,
        "another one",
    )


EVENTS: dict[str, tuple[Callable[[Service], None], str]] = {
    "HUP, good": (good, ""),
    "HUP, broken import": (broken, ""),
    "HUP, hanging import": (hanging, ""),
    "HUP, bad config": (bad, ""),
    "scale up and down": (scale, ""),
    "max_requests": (recycle, "max_requests = 150\nmax_requests_jitter = 50\n"),
    "kill -9 of a worker": (kill, ""),
}
"""Each event and the settings it needs."""
STOP = "TERM, 64 clients"


@contextlib.contextmanager
def served(kind: str, options: list[str], settings: str = "") -> Iterator[Service]:
    with (
        tempfile.TemporaryDirectory(prefix="arbiter-losses-") as directory,
        started(Path(directory), kind, *options, settings=settings) as server,
    ):
        yield Service(server, kind)


def _serve(answers: int, *loads: Load) -> None:
    """Wait for that many good answers to each."""
    for load in loads:
        goal = load.counts["ok"] + answers
        until(lambda load=load, goal=goal: load.counts["ok"] >= goal, "good answers", 60.0)


def happens(kind: str, name: str, times: int, options: list[str]) -> Account:
    """That event, so many times, to one server."""
    act, settings = EVENTS[name]
    account = Account(times)
    began = time.monotonic()
    with served(kind, options, settings) as service:
        address = (service.server.host, service.server.port)
        kept = Load(address, CLIENTS, keepalive=True)
        closing = Load(address, CLIENTS, keepalive=False)
        with kept, closing:
            for _ in range(times):
                _serve(BETWEEN, kept, closing)
                act(service)
        account.take(service, (kept, closing))
        if account.unexplained:
            print(service.server.log.text, file=sys.stderr)
        assert service.server.stop() == 0
    account.seconds = time.monotonic() - began
    return account


def stops(kind: str, times: int, options: list[str]) -> Account:
    """TERM, so many times, each to a server of its own."""
    account = Account(times)
    began = time.monotonic()
    for _ in range(times):
        with served(kind, options) as service:
            address = (service.server.host, service.server.port)
            kept = Load(address, MANY, keepalive=True, to_the_end=True)
            closing = Load(address, MANY, keepalive=False, to_the_end=True)
            with kept, closing:
                _serve(MANY, kept, closing)
                assert service.server.stop() == 0
            account.take(service, (kept, closing))
            if account.unexplained:
                print(service.server.log.text, file=sys.stderr)
    account.seconds = time.monotonic() - began
    return account


def main() -> int:
    """Print the table as it comes; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--kind", action="append", choices=list(APPS))
    parser.add_argument("--no-preload", action="store_true", help="no mold: workers load by themselves")
    parser.add_argument("events", nargs="*", default=[*EVENTS, STOP])
    given = parser.parse_args()
    options = ["--no-preload"] if given.no_preload else []
    unexplained = 0
    print(f"{'kind':9} {'event':20} {'times':>5} {'answered':>9} {'lost':>5} {'explained':>9} {'seconds':>8}")
    for kind in given.kind or APPS:
        for name in given.events:
            if name == STOP:
                account = stops(kind, given.times, options)
            else:
                account = happens(kind, name, given.times, options)
            lost = account.explained + len(account.unexplained)
            print(
                f"{kind:9} {name:20} {account.events:5} {account.answered:9} {lost:5} "
                f"{account.explained:9} {account.seconds:8.1f}",
                flush=True,
            )
            for loss in account.unexplained[:10]:
                print(f"          unexplained: {loss}", flush=True)
            unexplained += len(account.unexplained)
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
