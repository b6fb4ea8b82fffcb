"""Words that end later: what was asked of the policy, and when it has come true.

Neighbours: `plane` makes one for each word that the policy decides, and sends what it says. Its one rule:
a wait ends by what is said (`control.happenings`) or by what the book shows, never by time.
"""

from __future__ import annotations

import logging
from typing import Any, Final, Protocol

from arbiter.control.session import Fault, FaultKind
from arbiter.counted import counted
from arbiter.supervisor.book import Book
from arbiter.supervisor.journal import Happening

NEVER: Final = 1 << 62
"""A generation that never comes."""


class Asker(Protocol):
    """Where the answers go."""

    def tell(self, number: int, happening: Happening) -> None:
        """A step on the way."""
        ...

    def settle(self, number: int, verdict: dict[str, Any] | Fault) -> None:
        """The end."""
        ...


class Goal:
    """What a word waits for. `heard` and `seen` return a verdict, or None as long as there is none."""

    def begin(self, book: Book) -> None:
        """The policy has decided; this is where things stand."""

    def heard(self, happening: Happening) -> str | Fault | None:
        """Something was said."""
        if happening.name == "worker.boot_failed":
            return Fault(FaultKind.FAILED, happening.text)
        return None

    def seen(self, book: Book) -> str | None:
        """Everything is settled for now."""
        return None


class Reloaded(Goal):
    """The reload that was asked for, or a later one that took its place, has ended."""

    def __init__(self) -> None:
        self._generation = 0

    def begin(self, book: Book) -> None:
        # One that is asked for while a configuration is being read begins when that is done.
        self._generation = book.newest + (1 if book.reload_again else 0)

    def heard(self, happening: Happening) -> str | Fault | None:
        if happening.fields.get("generation", 0) < self._generation:
            return None
        if happening.name == "reload.done":
            return happening.text
        if happening.name in ("reload.failed", "reload.refused"):
            return Fault(FaultKind.FAILED, happening.text)
        return None


class Upgraded(Reloaded):
    """A new program has taken over, and the reload it begins with has ended."""

    def begin(self, book: Book) -> None:
        """The old program: it hears of the end only if that is a refusal."""
        self._generation = NEVER

    def resume(self, book: Book) -> None:
        """The new program: its reload is still to begin."""
        self._generation = book.newest + 1

    def heard(self, happening: Happening) -> str | Fault | None:
        if happening.name == "upgrade.refused":
            return Fault(FaultKind.FAILED, happening.text)
        if happening.name == "upgrade.done" and not happening.fields["reload"]:
            return happening.text
        return super().heard(happening)


class RolledBack(Goal):
    """The generation before is in force again, or the reload that was under way is not any more."""

    def heard(self, happening: Happening) -> str | Fault | None:
        if happening.name in ("rollback.done", "reload.failed"):
            return happening.text
        if happening.name in ("rollback.failed", "rollback.refused", "reload.done"):
            return Fault(FaultKind.FAILED, happening.text)
        return None


class Scaled(Goal):
    """Every slot that is wanted has a worker that serves, and there is no other."""

    def seen(self, book: Book) -> str | None:
        whole = {child.slot for child in book.serving()} == book.slots and not any(book.coming())
        only = all(child.slot in book.slots for child in book.children.values())
        return counted(len(book.slots), "worker") if whole and only else None


class Departed(Goal):
    """These children have gone."""

    def __init__(self, keys: list[int]) -> None:
        self._keys = keys

    def seen(self, book: Book) -> str | None:
        left = [key for key in self._keys if key in book.children]
        return None if left else "replaced"


class Stopped(Goal):
    """The arbiter has stopped: the connection ends with it."""


class Wait:
    """One word on its way. `count`: the events it put before the policy; `goal`: what else to wait for."""

    def __init__(self, asker: Asker, number: int, count: int, goal: Goal | None) -> None:
        self.asker = asker
        self.number = number
        self.ended = False
        self._outstanding = count
        self._goal = goal
        self._said: list[str] = []
        self._ignored: list[str] = []
        self._failed = False

    @property
    def goal(self) -> Goal | None:
        """What it waits for beside the policy's decision."""
        return self._goal

    def decided(self, said: list[Happening], book: Book) -> None:
        """The policy has dealt with one of the events."""
        self._outstanding -= 1
        self._failed = self._failed or any(one.level >= logging.ERROR for one in said)
        self._said += [one.text for one in said if one.name != "arbiter.ignored"]
        self._ignored += [one.text for one in said if one.name == "arbiter.ignored"]
        if self._outstanding or self.ended:
            return
        if self._ignored and not self._said:
            self._end(Fault(FaultKind.REFUSED, "\n".join(self._ignored)))
        elif self._goal is None:
            what = "\n".join(self._said)
            self._end(Fault(FaultKind.FAILED, what) if self._failed else what)
        else:
            self._goal.begin(book)
            for happening in said:
                self._weigh(happening, self._goal.heard(happening))

    def heard(self, happening: Happening) -> None:
        """Something was said."""
        if self._goal is None or self._outstanding or self.ended:
            return
        if happening.name == "arbiter.stopping" and not isinstance(self._goal, Stopped):
            self._end(Fault(FaultKind.REFUSED, happening.text))
        else:
            self._weigh(happening, self._goal.heard(happening))

    def seen(self, book: Book) -> None:
        """All that was pending is settled."""
        if self._goal is not None and not self._outstanding and not self.ended:
            verdict = self._goal.seen(book)
            if verdict is not None:
                self._end(verdict)

    def _weigh(self, happening: Happening, verdict: str | Fault | None) -> None:
        """What ends the wait is told by its end, and not twice."""
        if verdict is not None:
            self._end(verdict)
        elif not self.ended:
            self.asker.tell(self.number, happening)

    def _end(self, verdict: str | Fault) -> None:
        if not self.ended:
            self.ended = True
            self.asker.settle(self.number, verdict if isinstance(verdict, Fault) else {"said": verdict})
