"""Answers in words."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.control import render


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0004, "0.4ms"),
        (0.012, "12ms"),
        (1.23, "1.2s"),
        (192, "3m12s"),
        (11520, "3h12m"),
        (356400, "4d03h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert render.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(999, "999"), (12345, "12.3k"), (4.5e6, "4.5M"), (7e10, "70.0G")]
)
def test_counts(number: float, text: str) -> None:
    assert render.count(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "-"), (812 << 10, "812K"), (35 << 20, "35M"), (5 << 29, "2.5G")]
)
def test_sizes(number: int, text: str) -> None:
    assert render.size(number) == text


@given(st.text(), st.integers(0, 100))
def test_a_clipped_line_is_a_beginning_that_fits(text: str, columns: int) -> None:
    clipped = render.clip(text, columns)
    assert text.startswith(clipped)
    assert sum(1 for letter in clipped if letter.isascii()) <= columns


@given(st.text())
def test_nothing_cleaned_moves_the_cursor(text: str) -> None:
    assert not set(render.clean(text)) & {chr(n) for n in [*range(32), *range(127, 160)]}


def test_a_happening_of_several_lines_is_indented() -> None:
    event = {"time": 0.0, "level": logging.ERROR, "name": "reload.failed", "text": "no\nTraceback\x1b[2J"}
    first, second = render.happening_line(event).splitlines()
    assert first.endswith("error    reload.failed      no")
    assert second == "    Traceback?[2J"


def test_a_mold_says_what_it_buys() -> None:
    mold = {"pid": 7, "generation": 2, "state": "ready", "uptime": 75.0, "uss": 3 << 20}
    some = {**mold, "workers": 4, "shared": 63 << 20, "occupied": 72 << 20}
    assert render.mold_line(some) == (
        "mold 7 (gen 2) ready, up 1m15s, 3.0M of its own; 4 workers share 63M of 72M"
    )
    none = {**mold, "workers": 0, "shared": 0, "occupied": 0}
    assert render.mold_line(none) == "mold 7 (gen 2) ready, up 1m15s, 3.0M of its own"


def test_the_table_fits_80_columns() -> None:
    assert len(render.headings()) <= 80
    assert len(render.headings("p99", True)) == len(render.headings())
