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

from arbiter.config import cgroup


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
    for version, directory in cgroup.directories("cpu", root):
        if version == 2:
            yield from _ratio(*cgroup.read(directory, "cpu.max").split()[:2])
        else:
            yield from _ratio(
                cgroup.read(directory, "cpu.cfs_quota_us").strip(),
                cgroup.read(directory, "cpu.cfs_period_us").strip(),
            )


def _ratio(quota: str = "", period: str = "100000") -> Iterator[float]:
    """Quota over period, if both are numbers ("max" and -1 mean that there is no quota)."""
    try:
        ratio = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return
    if ratio > 0:
        yield ratio
