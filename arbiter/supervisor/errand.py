"""Upgrade in place, on the command line: how an arbiter tells the program it starts why.

Neighbours: `upgrade` writes the errand, `cli` reads it before anything else and has `heir` do it. Its one
rule: nothing but an arbiter writes it, so whatever does not look like one is left for click to refuse.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from dataclasses import dataclass
from typing import Final

OPTION: Final = "--hand-over="
"""Put before all other arguments: `take:FD`, or `prove:FD:FD` where the second takes the verdict."""


@dataclass(frozen=True, slots=True)
class Errand:
    """Why this program was started by an arbiter. verdict: -1 means to take over, not to prove."""

    state: int
    verdict: int = -1


def read(argv: MutableSequence[str], orig_argv: MutableSequence[str]) -> Errand | None:
    """The errand on a command line, which is taken out of it; None: started by anybody else."""
    if len(argv) < 2 or not argv[1].startswith(OPTION):
        return None
    word, *numbers = argv[1].removeprefix(OPTION).split(":")
    if len(numbers) != {"take": 1, "prove": 2}.get(word) or not all(text.isdigit() for text in numbers):
        return None
    del orig_argv[len(orig_argv) - len(argv) + 1]
    del argv[1]
    return Errand(*(int(text) for text in numbers))
