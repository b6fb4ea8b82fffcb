"""What the kernel says of a worker: is it computing, waiting for the processor, stopped, traced; was it out
of memory.

Neighbours: `health` samples workers with it, the death report asks about memory. Its one rule: reading
only, never more than a few small files, and a kernel that does not tell (no /proc, no cgroup) gives None,
not a guess.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

_TICK: Final = 1.0 / os.sysconf("SC_CLK_TCK")
MAX_TASKS: Final = 128
"""Threads of one process that are added up at most."""


Root: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process. Times in seconds since it began."""

    state: str
    """As in proc_pid_stat(5): R running, S sleeping, D in the kernel, T stopped, t stopped by a tracer, Z
    dead.
    """
    cpu: float
    """Processor time used, all threads."""
    waited: float
    """Time spent runnable without a processor, all threads."""
    traced: bool

    @property
    def held(self) -> bool:
        """Somebody has stopped it, or looks into it: a debugger, an operator."""
        return self.traced or self.state in "Tt"


def text(*path: Root) -> str:
    """What is in a file of /proc, of ASCII. Raises OSError."""
    with open(os.path.join(*path), encoding="ascii", errors="replace") as file:
        return file.read()


def sample(pid: int, root: Root = "/proc") -> Sample | None:
    """Look at a process; None if it is gone or the system has no /proc."""
    here = os.path.join(root, str(pid))
    try:
        stat = text(here, "stat")
        status = text(here, "status")
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    tracer = next((line.split()[1] for line in status.splitlines() if line.startswith("TracerPid:")), "0")
    cpu = (int(fields[11]) + int(fields[12])) * _TICK
    return Sample(fields[0], cpu, _waited(here), tracer != "0")


def glance(pid: int, root: Root = "/proc") -> tuple[str, float]:
    """State and processor time (s) of a process, as `Sample` has them, by reading one file; ("", 0.0) if
    unknown.
    """
    try:
        stat = text(root, str(pid), "stat")
        fields = stat[stat.rindex(")") + 2 :].split()
        return fields[0], (int(fields[11]) + int(fields[12])) * _TICK
    except (OSError, ValueError, IndexError):
        return "", 0.0


def _waited(here: str) -> float:
    """Run-queue wait of all threads (schedstat: time on the processor, time waiting, in ns)."""
    total = 0
    try:
        for task in os.listdir(os.path.join(here, "task"))[:MAX_TASKS]:
            parts = text(here, "task", task, "schedstat").split()
            total += int(parts[1])
    except (OSError, IndexError, ValueError):
        pass
    return total / 1e9


def memory_kib(pid: int, root: Root = "/proc") -> dict[str, int]:
    """Rss, Pss, Uss of a process in KiB, from smaps_rollup; empty if the kernel does not tell."""
    try:
        lines = text(root, str(pid), "smaps_rollup").splitlines()[1:]
    except OSError:
        return {}
    values = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    private = values.get("Private_Clean", 0) + values.get("Private_Dirty", 0)
    return {"rss": values.get("Rss", 0), "pss": values.get("Pss", 0), "uss": private}


def shared_mib(pids: Iterable[int]) -> tuple[int, int] | None:
    """What processes like these share with others, and what they occupy, each on the average (MiB)."""
    found = [memory for pid in pids if (memory := memory_kib(pid))]
    if not found:
        return None
    occupied = sum(memory["rss"] for memory in found) // len(found)
    own = sum(memory["uss"] for memory in found) // len(found)
    return (occupied - own) // 1024, occupied // 1024


class OomCounter:
    """How often the kernel has killed for memory in this process's cgroup (memory.events of cgroup v2)."""

    def __init__(self, path: Root | None = None) -> None:
        self._path = path or _own_events()
        self._seen = self._count()

    def rose(self) -> bool:
        """Whether it has happened since the last question."""
        count = self._count()
        rose, self._seen = count > self._seen, count
        return rose

    def _count(self) -> int:
        if self._path is None:
            return 0
        try:
            lines = text(self._path).splitlines()
        except OSError:
            return 0
        for line in lines:
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.isdigit():
                return int(value)
        return 0


def _own_events() -> str | None:
    try:
        lines = text("/proc/self/cgroup").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("0::"):
            return os.path.join("/sys/fs/cgroup", line[3:].lstrip("/"), "memory.events")
    return None
