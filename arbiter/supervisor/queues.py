"""How many connections wait in a listening socket.

Neighbours: `answers` and `exporter` show it. Its one rule: asked of the kernel, without privileges and
without touching the queue; a system that does not tell gives None.

TCP: TCP_INFO of a listener has the queue's length and limit in tcpi_unacked and tcpi_sacked (tcp(7),
net/ipv4/tcp.c). Unix: sock_diag(7) over netlink, UDIAG_SHOW_RQLEN.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Final, NamedTuple

_TCP_QUEUE: Final = struct.Struct("=24xII")
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBHIIIII")
_ANSWER: Final = struct.Struct("=BBBBIII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_UDIAG_SHOW_RQLEN: Final = 0x10
_UNIX_DIAG_RQLEN: Final = 4
_LISTEN: Final = 1 << 10


class Queue(NamedTuple):
    """Connections that wait, and how many may."""

    length: int
    limit: int


def queue_of(sock: socket.socket) -> Queue | None:
    """The accept queue of a listening socket; None if it cannot be known."""
    if sys.platform != "linux":
        return None
    try:
        if sock.family == socket.AF_UNIX:
            return _unix(os.fstat(sock.fileno()).st_ino)
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return Queue(*_TCP_QUEUE.unpack_from(info))
    except (OSError, struct.error):
        return None


def _unix(inode: int) -> Queue | None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _SOCK_DIAG) as netlink:
        netlink.setblocking(False)
        nobody = 0xFFFFFFFF  # no cookie
        body = _REQUEST.pack(socket.AF_UNIX, 0, 0, _LISTEN, inode, _UDIAG_SHOW_RQLEN, nobody, nobody)
        head = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
        netlink.send(head + body)
        answer = netlink.recv(4096)  # the kernel answers within the send
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        return None
    at = _HEADER.size + _ANSWER.size
    while at + _ATTRIBUTE.size <= len(answer):
        length, name = _ATTRIBUTE.unpack_from(answer, at)
        if name == _UNIX_DIAG_RQLEN:
            return Queue(*struct.unpack_from("=II", answer, at + _ATTRIBUTE.size))
        at += max(4, (length + 3) & ~3)
    return None
