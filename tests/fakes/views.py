"""An arbiter to look at: a book, rows and a journal as a test wants them, no process behind any."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from arbiter.config.sources import Loader
from arbiter.hooks import ServerFace
from arbiter.link.scoreboard import Scoreboard
from arbiter.observe.logs import Log
from arbiter.supervisor.book import Book, Child, Phase
from arbiter.supervisor.generation import Generation
from arbiter.supervisor.journal import Journal
from arbiter.supervisor.ledger import Ledger
from arbiter.supervisor.listeners import Listener
from arbiter.supervisor.states import State
from arbiter.supervisor.view import View
from tests.fakes.world import RULES


class Arbiter:
    """See the module's text. `held` names the processes that somebody has stopped."""

    def __init__(self, directory: Path, workers: int = 2, **settings: Any) -> None:
        self.config = Loader({"wsgi_app": "x:y", "proc_name": "shop", **settings}, {}, str(directory)).load()
        self.held: dict[int, str] = {}
        self.measured = 0
        self.listeners: list[Listener] = []
        self.book = Book(RULES, phase=Phase.SERVING, served=True, slots=set(range(1, workers + 1)))
        self.board = Scoreboard(64)
        self.rows: dict[int, int] = {}
        self.view = View(
            self.book,
            self.board,
            self.rows,
            self._generation,
            Journal(lambda: 1000.0),
            Ledger(lambda pid: ("S", 1.0)),
            time.monotonic() - 100,
            glance=lambda pid: (self.held.get(pid, "S"), 1.0),
            measure=self._measure,
        )
        for slot in range(1, workers + 1):
            self.born(slot)

    def born(self, slot: int, state: State = State.READY) -> Child:
        """One more child, with a row."""
        key = self.book.next_key
        self.book.next_key += 1
        child = Child(key, slot, 1, state, pid=40_000 + key, since=time.monotonic(), kind="sync")
        self.book.children[key] = child
        self.rows[key] = key
        self.board.row(key).clear(pid=child.pid, slot=slot, generation=1)
        return child

    def _measure(self, pid: int) -> dict[str, int]:
        self.measured += 1
        return {"rss": 3000, "pss": 2000, "uss": 1000}

    def _generation(self) -> Generation:
        log = Log("test")
        return Generation(1, self.config, self.listeners, ServerFace(self.config, log, []))
