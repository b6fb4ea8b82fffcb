"""One round of chaos on one worker kind, and its verdict."""

from __future__ import annotations

import collections
import contextlib
import datetime
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.acts import Actor, Killer, Operator
from tests.chaos.service import WORKERS, Service, started
from tests.processes.load import Load, Loss
from tests.processes.server import until

CLIENTS = 6
"""Of each manner, with one request at a time."""
PROOF = 100
"""Good answers, of each manner, that show that all is well at the end."""


@dataclass
class Verdict:
    """What a round has come to."""

    kind: str
    sent: int = 0
    answered: int = 0
    lost: int = 0
    explained: int = 0
    done: collections.Counter[str] = field(default_factory=collections.Counter)
    faults: list[str] = field(default_factory=list)
    """What must not be; empty if all is well."""
    log: str = ""

    def line(self) -> str:
        """A row of the table."""
        return (
            f"{self.kind:9} {sum(self.done.values()):5} {self.sent:8} {self.answered:9} {self.lost:5} "
            f"{self.explained:9}   {'well' if not self.faults else f'{len(self.faults)} faults'}"
        )


HEAD = f"{'kind':9} {'acts':>5} {'sent':>8} {'answered':>9} {'lost':>5} {'explained':>9}"


def chaos(directory: Path, kind: str, seconds: float, seed: int, *options: str, pace: float = 1.0) -> Verdict:
    """So many seconds of it. pace: the mean pause of the operator in seconds; the killer takes more time."""
    verdict = Verdict(kind)
    with started(directory, kind, *options) as server:
        service = Service(server, kind)
        before = service.rest()
        address = (server.host, server.port)
        loads = [Load(address, CLIENTS, keepalive=keepalive) for keepalive in (True, False)]
        actors = [
            Killer(service, f"killer {seed}", 2.5 * pace),
            Operator(service, f"operator {seed}", pace),
        ]
        try:
            with contextlib.ExitStack() as stack:
                for load in loads:
                    stack.enter_context(load)
                _let_loose(actors, seconds)
                _make_whole(service, loads)
            verdict.faults += _leaks(before, service.rest())
        except AssertionError as error:
            verdict.faults.append(str(error).partition("; the log:")[0])
        _account(verdict, service, loads, actors)
        verdict.faults += _end(service)
    verdict.log = server.log.text
    return verdict


def _let_loose(actors: list[Actor], seconds: float) -> None:
    for actor in actors:
        actor.start()
    threading.Event().wait(seconds)
    for actor in actors:
        actor.cease()


def _make_whole(service: Service, loads: list[Load]) -> None:
    """As an operator would; then all must be as it was in the beginning, with the newest code."""
    service.server.ctl("scale", str(WORKERS), status=None)
    version = service.deploy()
    service.reload("reload done")
    until(service.quiet, f"{WORKERS} workers and nobody else", timeout=60.0)
    for load in loads:
        goal = load.counts["ok"] + PROOF
        until(lambda load=load, goal=goal: load.counts["ok"] >= goal, f"{PROOF} good answers", timeout=60.0)
    found = {service.server.get().partition("version=")[2].strip() for _ in range(20)}
    assert found == {version}, f"versions {found} are served, and {version} was deployed last"


def _leaks(before: list[str], after: list[str]) -> list[str]:
    """Descriptors of the arbiter's that were not there in the beginning, or are no more."""
    first, last = (
        # What it reads of /proc now and then is open for less than a millisecond.
        collections.Counter(what for what in names if not what.startswith("/proc/"))
        for names in (before, after)
    )
    more = [f"the arbiter has {count} descriptors more of {what}" for what, count in (last - first).items()]
    fewer = [f"the arbiter has {count} descriptors less of {what}" for what, count in (first - last).items()]
    return more + fewer


def _account(verdict: Verdict, service: Service, loads: list[Load], actors: list[Actor]) -> None:
    unexplained = service.unexplained(loads)
    verdict.sent = sum(load.sent for load in loads)
    verdict.answered = sum(load.counts["ok"] for load in loads)
    verdict.lost = sum(load.lost for load in loads)
    verdict.explained = verdict.lost - len(unexplained)
    verdict.faults += [_unexplained(loss, service) for loss in unexplained]
    for actor in actors:
        verdict.done.update(actor.done)


def _unexplained(loss: Loss, service: Service) -> str:
    """With what was done shortly before it, for whoever looks for the cause."""
    at = datetime.datetime.now() - datetime.timedelta(seconds=time.monotonic() - loss.at)
    near = [
        f"{one.what} (pid {one.pid}, {loss.at - one.at:.3f} s before)"
        for one in service.inflictions
        if -0.1 < loss.at - one.at < 5.0
    ]
    return f"unexplained loss at {at:%H:%M:%S.%f}: {loss}; {', '.join(near) or 'nothing was done before it'}"


def _end(service: Service) -> list[str]:
    """TERM: status 0, and nothing is left behind."""
    try:
        status = service.server.stop()
    except AssertionError:
        return ["the arbiter does not stop"]
    faults = [] if status == 0 else [f"the arbiter exits with {status}"]
    end = time.monotonic() + 5.0
    while (left := service.left()) and time.monotonic() < end:
        threading.Event().wait(0.05)
    faults += [f"left behind: {process}" for process in left]
    sockets = sorted(path.name for path in (service.server.runtime / "arbiter").glob("*"))
    return faults + [f"left behind: {name}" for name in sockets]
