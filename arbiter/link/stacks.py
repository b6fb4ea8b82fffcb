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
from collections.abc import Iterator
from typing import Final

_FRAME: Final = re.compile(r'  File "(.*)", line \d+ in .*')
_THREAD: Final = re.compile(r"(Current thread|Thread) 0x.* first\):")
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
            import tempfile  # no trifle, and for others than Linux

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
    """The stacks without arbiter's own frames, which are the same in every one and explain nothing. Of
    threads that have no others there is only the number.
    """
    kept: list[str] = []
    waiting, gap = 0, False
    for head, frames in _blocks(stacks):
        if not head:
            gap = True
        elif _THREAD.match(head) and not frames:
            waiting += 1
        else:
            kept += [*([""] if gap and kept else []), head, *frames]
            gap = False
    if waiting:
        what = f"{'more ' if kept else ''}{'threads wait' if waiting > 1 else 'thread waits'}"
        kept += [*([""] if kept else []), f"({waiting} {what} in arbiter)"]
    return "\n".join(kept)


def _blocks(stacks: str) -> Iterator[tuple[str, list[str]]]:
    """Each line that is not indented, and those below it that are, without arbiter's frames."""
    head, frames = "", list[str]()
    for number, line in enumerate(stacks.rstrip().splitlines()):
        if not line.startswith(" "):
            if number:
                yield head, frames
            head, frames = line, []
        elif not _is_ours(line):
            frames.append(line)
    yield head, frames


def _is_ours(line: str) -> bool:
    frame = _FRAME.fullmatch(line)
    return frame is not None and (frame[1].startswith(_OURS) or frame[1] in (*_THEIRS, sys.argv[0]))
