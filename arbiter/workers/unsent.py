"""What a peer has not taken yet, as the kernel counts it.

Neighbours: `asgi_connection`, `connection` and `conversation` judge by it whether a peer takes anything of
its answer (`send_timeout`). Its one rule: what counts is progress, not room. The kernel calls a socket
writable when a third of its buffer is free. That can be a megabyte, for which a slow client needs minutes:
what it takes meanwhile shows only here.
"""

from __future__ import annotations

import fcntl
import struct
import sys
import termios


def queued(descriptor: int) -> int:
    """Bytes in a socket's send queue that its peer has not acknowledged (SIOCOUTQ: tcp(7), unix(7)).

    0 where the system does not tell (macOS): progress is then seen only in what the socket takes.
    """
    if not hasattr(termios, "TIOCOUTQ") or sys.platform != "linux":
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0])
    except (OSError, ValueError):  # closed meanwhile
        return 0
