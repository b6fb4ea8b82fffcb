"""Where the files of this process's control groups are."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbiter.config import cgroup


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("0::/a/b\n", [(2, "/a/b"), (2, "/a"), (2, "")]),
        ("0::/../host\n", [(2, "/host"), (2, "")]),
        ("4:memory:/a\n0::/x\n", [(1, "/memory/a"), (1, "/memory"), (1, "/memory/a"), (1, "/memory")]),
        ("3:cpu,cpuacct:/\n", []),
        ("rubbish\n\n", []),
    ],
)
def test_the_group_and_those_it_lies_in(tmp_path: Path, told: str, found: list[tuple[int, str]]) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(told)
    mount = f"{tmp_path}/sys/fs/cgroup"
    asked = list(cgroup.directories("memory", str(tmp_path)))
    version = found[0][0] if found else 0
    assert [one for one in asked if one[0] == version] == [(number, mount + path) for number, path in found]


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list(cgroup.directories("memory", str(tmp_path))) == []
    assert cgroup.read(str(tmp_path), "memory.max") == ""
