"""Numbers, durations, sizes."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.config.quantities import Duration, Integer, Size, Workers
from arbiter.config.unreadable import Unreadable


@pytest.mark.parametrize(("value", "number"), [(4, 4), ("4", 4), (" -12 ", -12), ("+3", 3), (4.0, 4)])
def test_integer(value: Any, number: int) -> None:
    assert Integer().read(value) == number


@pytest.mark.parametrize("value", ["", "four", "4.5", 4.5, True, None, "1_000", "٤", "9" * 30, math.inf])
def test_not_an_integer(value: Any) -> None:
    with pytest.raises(Unreadable):
        Integer().read(value)


@given(st.integers(-(10**17), 10**17))
def test_every_integer_is_read_back(number: int) -> None:
    assert Integer().read(str(number)) == number


def test_workers() -> None:
    kind = Workers(cpus=lambda: 6)
    assert kind.read("auto") == kind.read(" AUTO ") == 6
    assert kind.read("3") == 3
    with pytest.raises(Unreadable) as caught:
        kind.read("many")
    assert "auto" in caught.value.remedy
    assert Workers().read("auto") >= 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (30, 30.0),
        (0, 0.0),
        (1.5, 1.5),
        ("30", 30.0),
        ("1.5s", 1.5),
        ("500ms", 0.5),
        (".5", 0.5),
        ("2m", 120.0),
        ("1 h", 3600.0),
        ("1D", 86400.0),
        (datetime.timedelta(minutes=1), 60.0),
    ],
)
def test_duration(value: Any, seconds: float) -> None:
    assert Duration().read(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        -1,
        "-1",
        "",
        "s",
        "1m30s",
        "1 week",
        "1e3",
        "nan",
        math.nan,
        math.inf,
        True,
        None,
        10**400,
        "367d",
        [1],
    ],
)
def test_not_a_duration(value: Any) -> None:
    with pytest.raises(Unreadable):
        Duration().read(value)


@given(st.floats(0, 86400 * 366, allow_subnormal=False))
def test_every_duration_that_is_shown_reads_the_same(seconds: float) -> None:
    shown = Duration().show(seconds)
    assert float(shown) == pytest.approx(seconds, rel=1e-14, abs=1e-300)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (0, 0),
        (65536, 65536),
        ("65536", 65536),
        ("64K", 65536),
        ("64k", 65536),
        ("64 KiB", 65536),
        ("64kb", 65536),
        ("10b", 10),
        ("1M", 1 << 20),
        ("1.5M", 3 << 19),
        ("2G", 2 << 30),
        ("1T", 1 << 40),
    ],
)
def test_size(value: Any, size: int) -> None:
    assert Size().read(value) == size


@pytest.mark.parametrize(
    "value", [-1, "-1", "", "K", "1.5", "1X", "1KM", None, True, 1 << 61, "9999999T", 1.5]
)
def test_not_a_size(value: Any) -> None:
    with pytest.raises(Unreadable):
        Size().read(value)


@given(st.integers(0, 1 << 60))
def test_every_size_that_is_shown_reads_the_same(size: int) -> None:
    shown = Size().show(size)
    assert Size().read(shown.strip('"')) == size
