"""Records to systemd's journal in its own protocol, with fields that `journalctl` can select by.

Neighbours: `logs` opens it when standard error leads to the journal, `handlers` makes the entries. Its one
rule: the journal is an offer, not a condition: where it cannot be reached, lines with priorities go to
standard error, which leads there too.

Sources: systemd.exec(5) on JOURNAL_STREAM; systemd's "Native Journal Protocol".
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Mapping
from typing import Final

SOCKET: Final = "/run/systemd/journal/socket"
_SEALS: Final = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE: what the journal asks of a memfd
_F_ADD_SEALS: Final = 1033


def leads_to_journal(fd: int, environ: Mapping[str, str]) -> bool:
    """Whether the descriptor is the stream that systemd has connected with the journal."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


class Journal:
    """The journal's socket. Raises OSError if there is none to connect to."""

    def __init__(self, path: str = SOCKET) -> None:
        self.dropped = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def write(self, entry: Mapping[str, object]) -> bool:
        """Send an entry; False, and counted, if it cannot be done now."""
        data = b"".join(map(_field, entry, entry.values()))
        try:
            self._socket.send(data, socket.MSG_DONTWAIT)
        except OSError as error:
            if not self._too_long(error, data):
                self.dropped += 1
                return False
        self.dropped = 0
        return True

    def _too_long(self, error: OSError, data: bytes) -> bool:
        """What no datagram can hold goes in a sealed memory file; whether it did."""
        if error.errno != errno.EMSGSIZE or not hasattr(os, "memfd_create"):
            return False
        memory = os.memfd_create("journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.write(memory, data)
            fcntl.fcntl(memory, _F_ADD_SEALS, _SEALS)
            socket.send_fds(self._socket, [b""], [memory], socket.MSG_DONTWAIT)
        except OSError:
            return False
        finally:
            os.close(memory)
        return True

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def _field(name: str, value: object) -> bytes:
    data = str(value).encode("utf-8", "backslashreplace")
    key = re.sub(r"[^A-Z0-9_]", "_", name.upper()).lstrip("_0123456789")[:64].encode("ascii")
    if b"\n" in data:
        return b"%b\n%b%b\n" % (key, struct.pack("<Q", len(data)), data)
    return b"%b=%b\n" % (key, data)
