"""What a worker prints, on its way to its arbiter.

Neighbours: `workers.process` calls `redirect`; `supervisor.output` has the other ends. Its one rule: what was
printed is in the kernel when the call returns, so it survives the worker.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from arbiter.link.channel import Sender
from arbiter.link.messages import Booting

STREAMS: Final = ("stdout", "stderr")
"""Standard streams 1 and 2, in the order in which their pipes are sent."""

_kept: Final[list[int]] = []


def redirect(sender: Sender) -> None:
    """Have all that this process and its children write to their standard streams go to the arbiter."""
    ends = []
    for number, name in enumerate(STREAMS, start=1):
        stream = getattr(sys, name)
        if stream is not None:
            stream.flush()
        read, write = os.pipe()
        os.dup2(write, number)
        os.close(write)
        ends.append(read)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    sender.send(Booting("output"), ends)
    # Kept open, so that a print is no BrokenPipeError while a worker outlives its arbiter for a moment.
    _kept.extend(ends)
