"""How many CPUs this process may use.

Neighbours: `kinds.Workers` asks for `workers = "auto"`. Its one rule: the answer is what the scheduler will
really grant (affinity and the control group's quota), not what the machine has.

psutil is not asked: it knows affinity too, but no quota, and its import would cost the arbiter two megabytes.

Sources: sched_setaffinity(2); cgroup v2 `cpu.max` and v1 `cpu.cfs_quota_us` / `cpu.cfs_period_us`
(Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/cpu.rst of the kernel).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator


def available_cpus(root: str = "/") -> int:
    """At least 1. root: where /proc and /sys are looked for.

    A quota of a part of a CPU counts as a whole one, so that what was granted can be used up.
    """
    # macOS has neither affinity nor control groups.
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota in _quotas(root):
        count = min(count, math.ceil(quota))
    return max(1, count)


def _quotas(root: str) -> Iterator[float]:
    """The CPU quotas of this process's control group and of those it lies in."""
    mount = os.path.join(root, "sys/fs/cgroup")
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for directory in _up(mount, path):
                yield from _ratio(*_read(os.path.join(directory, "cpu.max")).split()[:2])
        elif "cpu" in controllers.split(","):
            for base in (os.path.join(mount, "cpu"), os.path.join(mount, controllers)):
                for directory in _up(base, path):
                    yield from _ratio(
                        _read(os.path.join(directory, "cpu.cfs_quota_us")).strip(),
                        _read(os.path.join(directory, "cpu.cfs_period_us")).strip(),
                    )


def _up(mount: str, path: str) -> Iterator[str]:
    """The group's directory and all above it, up to the mount point.

    In a container `path` is often that of the host, which is not there; the mount point then is the group.
    """
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for length in range(len(parts), -1, -1):
        yield os.path.join(mount, *parts[:length])


def _ratio(quota: str = "", period: str = "100000") -> Iterator[float]:
    """Quota over period, if both are numbers ("max" and -1 mean that there is no quota)."""
    try:
        ratio = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return
    if ratio > 0:
        yield ratio


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""
