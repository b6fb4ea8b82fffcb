"""A bounded memory of what was made of things that come again.

Neighbours: `fields` keeps judged request lines in one, `http1.answer_fields` the lines of answers, and the
gateways what applications say over and over. Its one rule: what is kept is a pure function of its key, so
an entry may be lost or made twice and nobody can tell; threads may therefore share a memo without a lock.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V], Generic[K, V]):
    """`memo[key]` calls `make(key)` only for what it has not seen; `keeps` says what is worth remembering.

    At most two generations of `ENTRIES`. When one is full it becomes the previous one, from which what is
    still in use is taken back: a flood of keys that never come again cannot push the common ones out for
    long.
    """

    ENTRIES = 512

    __slots__ = ("_previous",)

    def __init__(self) -> None:
        super().__init__()
        self._previous: dict[K, V] = {}

    def make(self, key: K) -> V:
        """What `key` means; whatever it raises comes out of the look-up, and nothing is kept."""
        raise NotImplementedError

    def keeps(self, key: K, value: V) -> bool:
        """Whether to remember it: not what is long, secret, or sure to be another one next time."""
        raise NotImplementedError

    def __missing__(self, key: K) -> V:
        value = self._previous.get(key)
        if value is None:
            value = self.make(key)
            if not self.keeps(key, value):
                return value
        if len(self) >= self.ENTRIES:
            self._previous = dict(self)
            self.clear()
        self[key] = value
        return value

    def forget(self) -> None:
        """Start anew, because the function has changed."""
        self.clear()
        self._previous.clear()
