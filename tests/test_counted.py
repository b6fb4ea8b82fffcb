"""One is no plural, wherever an operator is told how many there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from arbiter.counted import counted

PACKAGE = Path(__file__).parents[1] / "arbiter"
_PLURAL = re.compile(
    r"(\{[^{}]*\}|%d) (?:bytes|connections|faults|lines|records|requests|seconds|workers)\b(?!/)"
)
MANY = {"{event.requests}", "{corpses[text]}", "{most}", "{length}", "{len(data)}"}
"""Never one where they are used, or behind "from 1 to"."""


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (0, ("worker",), "0 workers"),
        (1, ("worker",), "1 worker"),
        (2, ("worker",), "2 workers"),
        (1, ("line was dropped", "lines were dropped"), "1 line was dropped"),
        (3, ("line was dropped", "lines were dropped"), "3 lines were dropped"),
    ],
)
def test_counted(number: int, nouns: tuple[str, ...], text: str) -> None:
    assert counted(number, *nouns) == text


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_plural_is_written_by_hand(path: Path) -> None:
    found = {number for number in _PLURAL.findall(path.read_text()) if not re.search(r"[A-Z]{2}", number)}
    allowed = MANY | ({"%d"} if path.name == "conversation.py" else set())
    assert found <= allowed, f"{found - allowed}: use counted()"
