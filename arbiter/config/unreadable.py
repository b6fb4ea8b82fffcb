"""The exception of the value readers.

Neighbours: `kinds`, `address` and `hook` raise it, `sources` makes a `Fault` of it by adding the setting, the
value and its origin. Its one rule: it speaks of the value alone.
"""

from __future__ import annotations


class Unreadable(ValueError):
    """A value that cannot be read.

    problem: continues the sentence "workers = 'four' ..." and has no full stop; remedy: a sentence, or "".
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
