"""Where this process's control groups have their files.

Neighbours: `cpus` reads quotas there, `supervisor.guards` memory and pressure. Its one rule: reading only;
what is not there, or cannot be read, is empty.

Sources: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/cgroups.rst of the kernel; cgroups(7).
"""

from __future__ import annotations

import os
from collections.abc import Iterator


def directories(controller: str, root: str = "/") -> Iterator[tuple[int, str]]:
    """Version (1 or 2) and directory of the control group with this controller, then of those it lies in.

    root: where /proc and /sys are looked for. In a container the path that the kernel tells is often that of
    the host, which is not there; the mount point then is the group.
    """
    mount = os.path.join(root, "sys/fs/cgroup")
    for line in read(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield from ((2, directory) for directory in _up(mount, path))
        elif controller in controllers.split(","):
            for base in (os.path.join(mount, controller), os.path.join(mount, controllers)):
                yield from ((1, directory) for directory in _up(base, path))


def read(*path: str) -> str:
    """The text of a small file; "" if it cannot be had."""
    try:
        with open(os.path.join(*path), encoding="ascii", errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""


def _up(mount: str, path: str) -> Iterator[str]:
    """The group's directory and all above it, up to the mount point."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for length in range(len(parts), -1, -1):
        yield os.path.join(mount, *parts[:length])
