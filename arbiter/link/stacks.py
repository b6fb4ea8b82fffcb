"""A worker's stacks, as written by its last or its living breath.

Neighbours: the arbiter makes one before a fork and reads it; the worker registers it with faulthandler. Its
one rule: the worker writes through C code that needs no lock of the interpreter, so a stack comes out also
while an extension holds it for ever, and the arbiter can read it after SIGKILL.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sys
import tempfile
from typing import Final

_FRAME: Final = re.compile(r'  File "(.*)", line \d+ in .*')
_OURS: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_THEIRS: Final = ("<frozen runpy>", os.path.join(os.path.dirname(os.__file__), "threading.py"))

DUMP_SIGNAL: Final = signal.SIGUSR2
"""Sent to a worker to have all its stacks written. It harms nothing; the worker goes on."""
MAX_DUMP: Final = 64 * 1024
"""Bytes of one dump that are kept."""


class StackFile:
    """An unnamed file that arbiter and worker share; `fd` is that of an existing one (else: a new one)."""

    def __init__(self, fd: int = -1) -> None:
        if fd >= 0:
            self.fd = fd
            return
        if hasattr(os, "memfd_create"):
            self.fd = os.memfd_create("arbiter-stacks", os.MFD_CLOEXEC)
        else:
            fd, path = tempfile.mkstemp(prefix="arbiter-stacks-")
            os.unlink(path)
            self.fd = fd
        # Appending, so that the file can be emptied between two dumps whatever the writer's offset.
        fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_APPEND)

    def fileno(self) -> int:
        return self.fd

    def written(self) -> bool:
        """Whether there is something that `take` has not yet given."""
        return self.size() > 0

    def size(self) -> int:
        """Bytes that `take` has not yet given."""
        return os.fstat(self.fd).st_size

    def take(self) -> str:
        """What has been written since the last call."""
        data = os.pread(self.fd, MAX_DUMP, 0)
        os.ftruncate(self.fd, 0)
        return data.decode("utf-8", "replace")

    def close(self) -> None:
        os.close(self.fd)


def trim(stacks: str) -> str:
    """The stacks without arbiter's own frames, which are the same in every one and explain nothing."""
    lines: list[str] = []
    for line in stacks.rstrip().splitlines():
        frame = _FRAME.fullmatch(line)
        if frame and (frame[1].startswith(_OURS) or frame[1] in _THEIRS or frame[1] == sys.argv[0]):
            continue
        if not frame and lines and not lines[-1].startswith(" ") and lines[-1].endswith("first):"):
            lines.append("  (waiting in arbiter)")
        lines.append(line)
    if lines and lines[-1].endswith("first):"):
        lines.append("  (waiting in arbiter)")
    return "\n".join(lines)
