"""The pages of libraries that loading an application has touched, and that its mold will not need again.

Neighbours: a mold calls `drop` when it is ready to be forked. Its one rule: only what the kernel can read
from the file again: mapped from a file, not writable, and no page of it ever written.

A fork inherits no such mapping's pages: a worker maps what it uses by itself. Those of a mold, which hardly
runs, would be counted as its own, and kept as long as a kernel short of memory took them for used: 10 MiB
with Wagtail and Pillow.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

_MADV_DONTNEED: Final = 4
"""madvise(2): forget the pages; the next access reads them from the file, or rather from its cache."""


def drop() -> None:
    """Have this process map none of them; they come back as they are used. Linux only; never fails."""
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    with contextlib.suppress(OSError), open("/proc/self/smaps", encoding="utf-8", errors="replace") as smaps:
        for start, end in list(unwritten(smaps)):
            madvise(start, end - start, _MADV_DONTNEED)  # refused where it would do harm: locked, of a device


def unwritten(smaps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """The start and end of the mappings that may be dropped, from the lines of /proc/PID/smaps (proc(5)).

    "Anonymous" and "Swap" count the pages that are not the file's any more, such as the relocations of a
    library, which are made before that part of it becomes read-only, or the breakpoints of a tracer.
    """
    found: tuple[int, int] | None = None
    zeros = 0
    for line in smaps:
        words = line.split()
        if not words[0].endswith(":"):
            found, zeros = _of_file(words), 0
        elif words[0] in ("Anonymous:", "Swap:"):
            zeros += words[1] == "0"
            if found is not None and zeros == 2:
                yield found


def _of_file(words: Sequence[str]) -> tuple[int, int] | None:
    """The bounds of a mapping if it is one of a file and cannot be written to."""
    bounds, permissions, path = words[0], words[1], words[5] if len(words) > 5 else ""
    if "w" in permissions or not path.startswith("/") or path.startswith("/dev/"):
        return None
    start, _, end = bounds.partition("-")
    return int(start, 16), int(end, 16)
