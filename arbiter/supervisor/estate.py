"""What an arbiter owns, and what outlives its program in an upgrade in place.

Neighbours: `host` makes one for a start, `heir` for a program that takes over; `arbiter` lives on it. Its one
rule: whatever is here exists once, whichever program runs.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Final

from arbiter.config.snapshot import Config
from arbiter.link.scoreboard import Scoreboard
from arbiter.supervisor.book import Book
from arbiter.supervisor.generation import Generation
from arbiter.supervisor.watch import Watch

ROWS_PER_SLOT: Final = 3
SPARE_ROWS: Final = 384
"""Rows of the scoreboard beyond three per worker: room for more workers, for surges and for what still
drains. A row that is not used costs no memory.
"""


@dataclass
class Estate:
    """See the module's text. `rows` gives a child's row of the scoreboard by its key, `lifeline` is the pipe,
    its read end first, `started` is monotonic (s); `began` is the configuration that the program began with:
    by it the pidfile and the control socket have their places, whatever has been reloaded since.
    """

    generations: dict[int, Generation]
    current: Generation
    began: Config
    book: Book
    scoreboard: Scoreboard
    lifeline: tuple[int, int]
    started: float
    rows: dict[int, int] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch)

    @classmethod
    def found(cls, first: Generation) -> Estate:
        """That of a start. Raises OSError if the system refuses."""
        rows = max(first.config.workers, first.config.workers_max) * ROWS_PER_SLOT + SPARE_ROWS
        number, most = first.number, rows // ROWS_PER_SLOT
        book = Book(first.rules, generation=number, newest=number, most=most)
        lifeline = os.pipe()
        os.set_blocking(lifeline[0], False)
        return cls({number: first}, first, first.config, book, Scoreboard(rows), lifeline, time.monotonic())
