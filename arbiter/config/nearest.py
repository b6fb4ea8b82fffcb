"""The word that was probably meant.

Neighbours: whoever refuses a name asks. Its one rule: what finds it is imported when a name is refused, for
an arbiter would carry it all its life.
"""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], count: int, likeness: float) -> list[str]:
    """At most `count` of the known words, the likest first; likeness: 0 (anything) to 1 (the same)."""
    import difflib

    return difflib.get_close_matches(word, list(known), count, likeness)
