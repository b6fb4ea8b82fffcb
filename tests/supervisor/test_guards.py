"""Room for more workers, from a small copy of /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbiter.supervisor.autoscale import Room
from arbiter.supervisor.guards import Guards, Use

MIB = 1 << 20
CALM = Use(2.0, 0.2, 0.1)


def machine(root: Path, told: str = "0::/\n", **files: str) -> Guards:
    """Files by path, "/" written as "__"; a worker has 50 MiB, and there are four processors."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(told)
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Guards(str(root), lambda pid: {"uss": 50 * 1024}, lambda: 4)


def group(**files: str) -> dict[str, str]:
    return {f"sys__fs__cgroup__{name.replace('_', '.')}": text for name, text in files.items()}


def test_a_kernel_that_does_not_tell_forbids_nothing(tmp_path: Path) -> None:
    guards = machine(tmp_path)
    assert guards.room(7, 1, [1], CALM) == Room(7)
    assert guards.pressure_total() is None
    assert Guards(str(tmp_path), lambda pid: {}, lambda: 4).room(7, 1, [1], CALM) == Room(7)


def test_the_control_groups_memory(tmp_path: Path) -> None:
    guards = machine(
        tmp_path,
        **group(
            memory_max=f"{1000 * MIB}\n",
            memory_high="max\n",
            memory_current=f"{800 * MIB}\n",
            memory_stat=f"anon 1\ninactive_file {20 * MIB}\n",
        ),
    )
    assert guards.room(9, 1, [1, 2], CALM) == Room(
        3, "memory", "170 MiB of memory are left, and a worker takes 50 MiB"
    )
    assert guards.room(3, 1, [1, 2], CALM) == Room(3)
    assert guards.room(9, 1, [], CALM) == Room(9), "nobody to take the size from"


def test_the_tightest_of_all_limits_counts(tmp_path: Path) -> None:
    guards = machine(
        tmp_path,
        "4:memory:/\n",
        **{
            "sys__fs__cgroup__memory__memory.limit_in_bytes": f"{1000 * MIB}",
            "sys__fs__cgroup__memory__memory.usage_in_bytes": f"{990 * MIB}",
            "sys__fs__cgroup__memory__memory.stat": f"total_inactive_file {100 * MIB}\n",
            "proc__meminfo": f"MemTotal: {1000 << 10} kB\nMemAvailable: {500 << 10} kB\n",
        },
    )
    assert guards.room(9, 1, [1], CALM).workers == 1
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: {1000 << 10} kB\nMemAvailable: {10 << 10} kB\n")
    assert guards.room(9, 1, [1], CALM) == Room(
        0, "memory", "0 MiB of memory are left, and a worker takes 50 MiB"
    )


@pytest.mark.parametrize(
    ("use", "have", "room"),
    [
        (Use(4.0, 3.7), 4, 0),
        (Use(4.0, 2.5, 0.8), 4, 0),
        (Use(4.0, 1.0, 0.8), 4, 9),
        (Use(4.0, 2.5, 0.2), 4, 4),
        (Use(1.0, 1.0, 0.0), 1, 4),
        (Use(0.3, 0.3, 0.0), 1, 9),
        (Use(8.0, 0.0, 0.0), 8, 9),
        (Use(8.0, 0.4, 0.0), 8, 9),
    ],
)
def test_the_processors(tmp_path: Path, use: Use, have: int, room: int) -> None:
    found = machine(tmp_path).room(9, have, [1], use)
    assert found.workers == room
    assert (found.kind == "cpu") is (room < 9)


def test_pressure_is_that_of_the_group_or_else_of_the_machine(tmp_path: Path) -> None:
    psi = "some avg10=1.00 avg60=1.00 avg300=1.00 total={}\nfull avg10=0 avg60=0 avg300=0 total=9\n"
    guards = machine(tmp_path, proc__pressure__cpu=psi.format(2_500_000))
    assert guards.pressure_total() == 2.5
    inside = machine(
        tmp_path / "in", **group(cpu_pressure=psi.format(1_000_000)), proc__pressure__cpu=psi.format(7)
    )
    assert inside.pressure_total() == 1.0
