"""What a process holds, as the kernel tells it."""

from __future__ import annotations

import json
import os
import resource
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.processes.client import Client
from tests.processes.server import Server, until


def peak(pid: int) -> int:
    """The most resident memory the process has ever had; bytes."""
    return _status(pid, "VmHWM:")


def resident(pid: int) -> int:
    """Its resident memory now; bytes."""
    return _status(pid, "VmRSS:")


def _status(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        pytest.skip("memory is measured by /proc, which is Linux's")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def descriptors(pid: int) -> list[str]:
    """What each open descriptor refers to, sorted; numbers of sockets and pipes are left out."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}").partition(":[")[0])
        except FileNotFoundError:
            continue
    return sorted(found)


def worker_of(server: Server) -> int:
    """The pid of the only worker."""
    (pid,) = server.workers()
    return pid


def rows(server: Server) -> list[dict[str, int]]:
    """What the scoreboard says of each worker."""
    told: list[dict[str, int]] = json.loads(server.ctl("status", "--json"))["workers"]
    return told


def wait_quiet(server: Server) -> None:
    """Until no request is in flight and no connection open."""

    def quiet() -> bool:
        return all(row["in_flight"] == 0 and row["connections"] == 0 for row in rows(server))

    until(quiet, "the end of every request and connection")


@dataclass
class Holding:
    """What a worker holds on to when nothing goes on."""

    descriptors: list[str]
    threads: int
    tasks: int


def holding(server: Server) -> Holding:
    """Of the only worker, which serves a probe application, once it is quiet."""
    wait_quiet(server)
    with Client((server.host, server.port)) as client:
        state = json.loads(client.get("/state", "Connection: close").body)
        assert client.closed()
    wait_quiet(server)
    pid = worker_of(server)
    return Holding(descriptors(pid), psutil.Process(pid).num_threads(), state["tasks"])


def allow_descriptors(count: int) -> None:
    """Raise this process's own limit, which the servers it starts inherit; skip where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"needs {count} open files, and the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
