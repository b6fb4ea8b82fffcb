"""Whether there may be more workers: what memory and processors allow.

Neighbours: `scaler` asks before it has workers added; `config.cgroup` finds the files. Its one rule: what the
kernel does not tell forbids nothing.

Memory: the limits of the control groups (memory.max, memory.high; version 1: memory.limit_in_bytes) less
what is in use and cannot be reclaimed at once, and MemAvailable of the machine. A new worker is taken to grow
to the size of the largest there is (USS: what it shares costs nothing).

Processors: nothing is won by more workers when those there are use all processors up, or when it takes all
processors to keep fewer busy. Pressure is PSI (Documentation/accounting/psi.rst of the kernel): the share of
time in which somebody who could run waited for a processor.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from arbiter.config import cgroup
from arbiter.config.cpus import available_cpus
from arbiter.supervisor.autoscale import Room
from arbiter.supervisor.procfs import memory_kib

RESERVE: Final = 0.05
"""The share of a limit on memory that is left alone."""
MEASURED: Final = 4
"""Workers whose memory is looked at for one question; a millisecond each."""
FULL: Final = 0.9
"""The share of the processors from which they are used up."""
PRESSED: Final = 0.6
"""The pressure from which they are, if the workers have a good part of them."""
GOOD_PART: Final = 0.5
BUSY: Final = 0.5
"""Busy workers below which it cannot be said what one of them needs."""
PLENTY: Final = Room(1 << 20)
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Use:
    """What the workers used lately.

    busy: how many requests kept busy; computing: processors they used; pressure: on processors, 0 to 1, None
    if the kernel does not tell.
    """

    busy: float
    computing: float
    pressure: float | None = None


class Guards:
    """See the module's text. root: where /proc and /sys are looked for."""

    def __init__(
        self,
        root: str = "/",
        measure: Callable[[int], dict[str, int]] = memory_kib,
        cpus: Callable[[], int] = available_cpus,
    ) -> None:
        self._root = root
        self._measure = measure
        self._cpus = cpus
        self._pressure_file = self._find_pressure()

    def room(self, wanted: int, have: int, pids: Iterable[int], use: Use) -> Room:
        """How many of `wanted` more workers there may be beside `have`; the tighter guard speaks."""
        found = self._processors(have, use)
        if found.workers > 0:
            found = min(found, self._memory(pids), key=lambda room: room.workers)
        return found if found.workers < wanted else Room(wanted)

    def pressure_total(self) -> float | None:
        """For how many seconds somebody has waited for a processor; what a second adds is the pressure."""
        for line in cgroup.read(self._pressure_file).splitlines():
            kind, _, figures = line.partition(" ")
            total = figures.rpartition("total=")[2]
            if kind == "some" and total.isdigit():
                return int(total) / 1e6
        return None

    def _find_pressure(self) -> str:
        for version, directory in cgroup.directories("cpu", self._root):
            if version == 2 and cgroup.read(directory, "cpu.pressure"):
                return f"{directory}/cpu.pressure"
        return os.path.join(self._root, "proc/pressure/cpu")

    # -- processors

    def _processors(self, have: int, use: Use) -> Room:
        cpus = self._cpus()
        pressed = use.pressure is not None and use.pressure >= PRESSED
        if use.computing >= FULL * cpus or (pressed and use.computing >= GOOD_PART * cpus):
            pressure = f", pressure {use.pressure:.0%}" if use.pressure is not None else ""
            return Room(0, "cpu", f"the processors are used up ({use.computing:.1f} of {cpus}{pressure})")
        if use.busy < BUSY or use.computing <= 0:
            return PLENTY
        each = min(1.0, use.computing / use.busy)
        most = math.ceil(cpus / each) + 1
        why = f"a busy worker takes {each:.0%} of a processor, so {cpus} carry {most}"
        return Room(max(0, most - have), "cpu", why)

    # -- memory

    def _memory(self, pids: Iterable[int]) -> Room:
        sizes = [self._measure(pid).get("uss", 0) * 1024 for pid in list(pids)[:MEASURED]]
        each = max(sizes, default=0)
        left = min(self._left(), default=math.inf)
        if not each or left == math.inf:
            return PLENTY
        why = f"{max(0, left) // _MIB:.0f} MiB of memory are left, and a worker takes {each // _MIB or 1} MiB"
        return Room(max(0, int(left // each)), "memory", why)

    def _left(self) -> Iterator[float]:
        """Bytes that may be used yet, by everything that limits memory."""
        for version, directory in cgroup.directories("memory", self._root):
            if version == 2:
                names, used, idle = ["memory.max", "memory.high"], "memory.current", "inactive_file"
            else:
                names, used, idle = ["memory.limit_in_bytes"], "memory.usage_in_bytes", "total_inactive_file"
            limits = [text for name in names if (text := cgroup.read(directory, name).strip()).isdigit()]
            usage = cgroup.read(directory, used).strip()
            if limits and usage.isdigit():
                limit = min(map(int, limits))
                reclaimable = _figure(cgroup.read(directory, "memory.stat"), idle)
                yield limit * (1 - RESERVE) - int(usage) + reclaimable
        machine = cgroup.read(self._root, "proc/meminfo")
        if "MemAvailable:" in machine:
            available, total = _figure(machine, "MemAvailable:"), _figure(machine, "MemTotal:")
            yield 1024 * (available - total * RESERVE)


def _figure(text: str, name: str) -> int:
    """The number in the line that begins with that word; 0 without it."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdigit():
            return int(words[1])
    return 0
