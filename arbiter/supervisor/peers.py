"""Who is at the other end of the control socket, and what they may do.

Neighbours: `plane` asks for each connection. Its one rule: the kernel says who it is (SO_PEERCRED), never
the peer; and what descends from this arbiter may only look, whoever it runs as, so that a broken-into
application cannot stop the site through its own server.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from arbiter.control.commands import Role
from arbiter.supervisor.procfs import Root, text

_SO_PEERGROUPS: Final = 59
_SO_PEERPIDFD: Final = 77
_GENERATIONS: Final = 64
"""Ancestors looked at, at most."""


class RoleSettings(Protocol):
    """The settings read here (a `Config` has them)."""

    control_observers: tuple[str, ...]
    control_operators: tuple[str, ...]
    control_admins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Peer:
    """A process at the time it connected. pid 0: the system does not say."""

    pid: int
    uid: int
    groups: frozenset[int]
    below: bool
    """It descends from this arbiter, or may do so: it is gone and cannot be looked at."""

    def __str__(self) -> str:
        return f"uid {self.uid}, pid {self.pid}"


def identify(sock: socket.socket, arbiter: int) -> Peer | None:
    """The peer of a connected unix socket; None if the system does not say."""
    try:
        if sys.platform == "darwin":
            # struct xucred of LOCAL_PEERCRED (SOL_LOCAL = 0, option 1): version, uid, count, groups.
            data = sock.getsockopt(0, 1, 76)
            _, uid, count = struct.unpack_from("IIh", data)
            groups = struct.unpack_from(f"{max(0, min(count, 16))}I", data, 12)
            (pid,) = struct.unpack("i", sock.getsockopt(0, 2, 4))
            return Peer(pid, uid, frozenset(groups), below=False)
        pid, uid, gid = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except (OSError, struct.error, AttributeError):
        return None
    return Peer(pid, uid, frozenset({gid, *_groups(sock)}), _is_below(sock, pid, arbiter))


def role_of(peer: Peer, settings: RoleSettings) -> Role | None:
    """What the peer may do; None: nothing."""
    if peer.uid in (0, os.geteuid()) or _named(peer, settings.control_admins):
        role = Role.ADMIN
    elif _named(peer, settings.control_operators):
        role = Role.OPERATOR
    elif _named(peer, settings.control_observers):
        role = Role.OBSERVER
    else:
        return None
    return Role.OBSERVER if peer.below else role


def _named(peer: Peer, principals: Iterable[str]) -> bool:
    return any(
        int(one[1:]) in peer.groups if one.startswith("@") else int(one) == peer.uid for one in principals
    )


def _groups(sock: socket.socket) -> tuple[int, ...]:
    """The supplementary groups (Linux 4.13)."""
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
    except OSError:
        return ()
    return struct.unpack(f"{len(data) // 4}I", data[: len(data) // 4 * 4])


def _is_below(sock: socket.socket, pid: int, arbiter: int) -> bool:
    """Whether the peer descends from the arbiter. A pidfd (Linux 6.5) tells whether `pid` is still its own;
    one that is gone is taken for a descendant: who connects and vanishes has something to hide.
    """
    found = descends(pid, arbiter)
    try:
        pidfd = struct.unpack("i", sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4))[0]
    except OSError as error:
        return found or error.errno == 3  # ESRCH: it has been reaped; else the kernel is older
    try:
        gone = select.poll()
        gone.register(pidfd, select.POLLIN)
        return found or bool(gone.poll(0))
    finally:
        os.close(pidfd)


def descends(pid: int, ancestor: int, root: Root = "/proc") -> bool:
    """Whether `ancestor` is among the parents of `pid`."""
    for _ in range(_GENERATIONS):
        if pid <= 1 or pid == ancestor:
            break
        try:
            stat = text(root, str(pid), "stat")
            pid = int(stat[stat.rindex(")") + 2 :].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return pid == ancestor
