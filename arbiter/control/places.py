"""Where control sockets lie, for the arbiter that makes one and for `arbiterctl` that looks for it.

Neighbours: `supervisor.plane` takes the first place that will do, `client` looks in all. Its one rule: both
sides go by this one list, so that an arbiter is found without a flag; a directory is only trusted if nobody
else could have put something there.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Final

SUFFIX: Final = ".ctl"
LONGEST: Final = 100
"""Bytes of a unix socket's path, with room for a suffix (sockaddr_un has 104 on some systems)."""
SYSTEM: Final = "/run"
LISTENING: Final = "/proc/net/unix"
"""The unix sockets of this network namespace (Linux, proc(5)): a pidfile's neighbour may lie anywhere."""


def safe_name(name: str) -> str:
    """A process name as part of a file name: "shop", "mysite.asgi-application"."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[:48] or "arbiter"


def directories(environ: Mapping[str, str], uid: int) -> Iterator[str]:
    """The run-time directories of a user, the best first."""
    for part in environ.get("RUNTIME_DIRECTORY", "").split(":"):
        if part:
            yield part
    if environ.get("XDG_RUNTIME_DIR"):
        yield os.path.join(environ["XDG_RUNTIME_DIR"], "arbiter")
    yield f"{SYSTEM}/user/{uid}/arbiter"
    if uid == 0:
        yield f"{SYSTEM}/arbiter"
    yield os.path.join(environ.get("TMPDIR") or "/tmp", f"arbiter-{uid}")


def neighbour(pidfile: str) -> str:
    """The socket beside a pidfile: shop.pid, shop.ctl."""
    return os.path.splitext(pidfile)[0] + SUFFIX


def candidates(name: str, pidfile: str | None, environ: Mapping[str, str], uid: int) -> Iterator[str]:
    """The paths an arbiter may take, the best first."""
    file = safe_name(name) + SUFFIX
    all_directories = list(directories(environ, uid))
    given = len([part for part in environ.get("RUNTIME_DIRECTORY", "").split(":") if part])
    for directory in all_directories[:given]:
        yield os.path.join(directory, file)
    if pidfile:
        yield neighbour(pidfile)
    for directory in all_directories[given:]:
        yield os.path.join(directory, file)


def prepare(directory: str) -> bool:
    """Make sure of a directory to put a socket in: there, and nobody else's to write to.

    Its parent must exist; what is missing is made with mode 0700. False if it will not do.
    """
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    except OSError:
        return False
    return trusted(directory)


def trusted(directory: str) -> bool:
    """Whether only its owner, who is this user or root, can put something there."""
    try:
        there = os.stat(directory)
    except OSError:
        return False
    if not stat.S_ISDIR(there.st_mode) or there.st_uid not in (0, os.geteuid()):
        return False
    shared = there.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return not shared


def found(environ: Mapping[str, str], uid: int, cwd: str) -> list[str]:
    """Every path at which there is a socket that could be an arbiter's, the likeliest first: those where
    arbiters put them, and those of this user that somebody listens at.
    """
    places = [*directories(environ, uid), f"{SYSTEM}/arbiter"]
    try:
        places += sorted(
            entry.path for entry in os.scandir(SYSTEM) if entry.name.startswith("arbiter-") and entry.is_dir()
        )
    except OSError:
        pass
    places.append(cwd)  # the neighbour of a pidfile
    paths: dict[str, None] = {}
    for place in places:
        try:
            names = sorted(os.listdir(place))
        except OSError:
            continue
        for name in names:
            path = os.path.join(place, name)
            if name.endswith(SUFFIX) and _socket_of(path) is not None:
                paths[os.path.realpath(path)] = None
    for path in _listening():
        if _socket_of(path) == uid:
            paths[os.path.realpath(path)] = None
    return list(paths)


def _listening() -> Iterator[str]:
    """The paths of sockets that are called as an arbiter's are, wherever they lie."""
    try:
        with open(LISTENING, encoding="utf-8", errors="surrogateescape") as sockets:
            for line in sockets:
                path = line.rstrip("\n").partition("/")[2]
                if path.endswith(SUFFIX):
                    yield f"/{path}"
    except OSError:
        pass


def _socket_of(path: str) -> int | None:
    """Whose socket is at this path; None if there is none."""
    try:
        there = os.stat(path)
    except OSError:
        return None
    return there.st_uid if stat.S_ISSOCK(there.st_mode) else None
