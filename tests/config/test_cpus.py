"""CPUs by affinity and by the quota of the control group, read from a small copy of /proc and /sys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arbiter.config.cpus import available_cpus


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process could run on 64 CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)


def group(root: Path, cgroup: str, **files: str) -> str:
    """Write proc/self/cgroup and the files, given as path__with__underscores='content'."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, content in files.items():
        path = (
            root
            / "sys/fs/cgroup"
            / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return str(root)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("content", "count"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("max 100000\n", 64),
        ("", 64),
        ("x y", 64),
    ],
)
def test_version_2(tmp_path: Path, content: str, count: int) -> None:
    assert available_cpus(group(tmp_path, "0::/app\n", app__cpu_max=content)) == count


@pytest.mark.usefixtures("many")
def test_the_least_quota_of_all_groups_above_holds(tmp_path: Path) -> None:
    root = group(
        tmp_path, "0::/a/b\n", a__b__cpu_max="800000 100000", a__cpu_max="300000 100000", cpu_max="max 100000"
    )
    assert available_cpus(root) == 3


@pytest.mark.usefixtures("many")
def test_in_a_container_the_mount_point_is_the_group(tmp_path: Path) -> None:
    assert available_cpus(group(tmp_path, "0::/docker/0123\n", cpu_max="400000 100000")) == 4


@pytest.mark.usefixtures("many")
def test_version_1(tmp_path: Path) -> None:
    root = group(
        tmp_path,
        "5:memory:/x\n4:cpu,cpuacct:/app\n0::/\n",
        cpu__app__cpu_cfs_quota_us="250000",
        cpu__app__cpu_cfs_period_us="100000",
    )
    assert available_cpus(root) == 3


@pytest.mark.usefixtures("many")
def test_version_1_without_a_quota(tmp_path: Path) -> None:
    root = group(tmp_path, "4:cpu:/\n", cpu__cpu_cfs_quota_us="-1", cpu__cpu_cfs_period_us="100000")
    assert available_cpus(root) == 64


@pytest.mark.usefixtures("many")
def test_without_control_groups(tmp_path: Path) -> None:
    assert available_cpus(str(tmp_path)) == 64


def test_affinity_holds_whatever_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5}, raising=False)
    assert available_cpus(group(tmp_path, "0::/\n", cpu_max="900000 100000")) == 2


def test_here() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
