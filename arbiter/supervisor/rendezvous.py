"""The listening control socket: made, found a place, never taken from another.

Neighbours: `outside` opens it at the start, `control.places` says where it may lie. Its one rule: a socket
that nobody serves any more is replaced; one that is served is left alone, and the next name is taken. Names
that hold the number of an arbiter that is gone will not be taken again, so they are removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
from collections.abc import Mapping
from typing import Final

from arbiter.config.snapshot import Config
from arbiter.control import places
from arbiter.errors import FilesError

PROBE: Final = 1.0
"""Seconds to find out whether somebody serves a socket that is in the way."""
_NUMBERED: Final = re.compile(rf"\.([1-9][0-9]*){re.escape(places.SUFFIX)}$")


def open_socket(config: Config, environ: Mapping[str, str]) -> tuple[socket.socket, str]:
    """The listening control socket and its path. Raises `FilesError` when there is no place for it."""
    if config.control_socket is not None:
        paths = [config.control_socket]
    else:
        first = places.candidates(config.proc_name, config.pidfile, environ, os.geteuid())
        own = f".{os.getpid()}{places.SUFFIX}"
        paths = [name for path in first for name in (path, path.removesuffix(places.SUFFIX) + own)]
    problems = []
    for path in paths:
        try:
            return _bind(path, config), path
        except OSError as error:
            problems.append(f"{path}: {error.strerror or error}")
    raise FilesError(
        f"control_socket: none can be made ({'; '.join(problems)}), so arbiterctl will not find this "
        "arbiter. Name one in a directory that this user may write to, or set control_socket_disable."
    )


def _bind(path: str, config: Config) -> socket.socket:
    if len(os.fsencode(path)) > places.LONGEST:
        raise OSError(None, f"longer than {places.LONGEST} bytes")
    directory = os.path.dirname(path)
    ours = config.control_socket is None and path != places.neighbour(config.pidfile or "")
    if ours and not places.prepare(directory):
        raise OSError(None, "the directory is missing, cannot be made, or others may write to it")
    if ours:
        _clear_dead(directory)
    _clear_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~config.control_socket_mode)
    try:
        sock.bind(path)
        sock.listen(128)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _clear_dead(directory: str) -> None:
    """Remove the sockets whose names hold the number of a process that is no more, and that nobody serves.

    Both, because a process of that number may be another's, and an arbiter in another container has a number
    that is none here.
    """
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            found = _NUMBERED.search(entry.name)
            if found and not _exists(int(found[1])):
                with contextlib.suppress(OSError):
                    _clear_stale(entry.path)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _clear_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(None, "is there and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            pass
    raise OSError(None, "another arbiter serves it")
