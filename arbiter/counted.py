"""Numbers with their nouns, for records and for the terminal.

Neighbours: whoever tells an operator how many there are. Its one rule: one is no plural.
"""

from __future__ import annotations


def counted(number: int, one: str, several: str = "") -> str:
    """`counted(2, "worker")` is "2 workers"; with a verb, `counted(1, "worker serves", "workers serve")`."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"
