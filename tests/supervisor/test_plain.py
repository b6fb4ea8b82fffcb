"""Records to JSON and back."""

from __future__ import annotations

import enum
import json
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.supervisor.plain import HOME, from_plain, to_plain


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    number: int
    ratio: float = 0.5


@dataclass
class Outer:
    colour: Colour
    inner: Inner | None
    names: dict[int, Inner]
    pairs: list[tuple[int, bytes]]
    many: tuple[str, ...]
    chosen: set[int]
    counts: Counter[str]
    last: deque[int]
    word: Literal["a", "b"]
    anything: Any = None
    home: object = field(default=None, metadata={HOME: True})


def there_and_back(kind: Any, value: Any) -> Any:
    return from_plain(kind, json.loads(json.dumps(to_plain(value))))


inners = st.builds(Inner, st.integers(), st.floats(allow_nan=False))
outers = st.builds(
    Outer,
    colour=st.sampled_from(Colour),
    inner=st.none() | inners,
    names=st.dictionaries(st.integers(), inners, max_size=3),
    pairs=st.lists(st.tuples(st.integers(), st.binary(max_size=9)), max_size=3),
    many=st.lists(st.text(), max_size=3).map(tuple),
    chosen=st.sets(st.integers(), max_size=3),
    counts=st.dictionaries(st.text(), st.integers(), max_size=3).map(Counter),
    last=st.lists(st.integers(), max_size=3).map(deque),
    word=st.sampled_from(["a", "b"]),
    anything=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(), some, max_size=3),
        max_leaves=5,
    ),
)


@given(outers)
def test_what_comes_back_is_what_went_in(outer: Outer) -> None:
    assert there_and_back(Outer, outer) == outer


def test_infinity_and_surrogates() -> None:
    assert there_and_back(float, float("inf")) == float("inf")
    assert there_and_back(str, "\udc80") == "\udc80"


def test_what_stays_at_home_gets_its_default() -> None:
    outer = Outer(Colour.RED, None, {}, [], (), set(), Counter(), deque(), "a", home=object())
    assert there_and_back(Outer, outer).home is None


def test_equal_sets_are_written_alike() -> None:
    assert to_plain({8, 0, 16}) == to_plain({16, 8, 0})


def test_fields_may_come_and_go() -> None:
    assert from_plain(Inner, {"number": 3, "of_another_version": []}) == Inner(3)


@pytest.mark.parametrize(
    ("kind", "plain", "where"),
    [
        (Inner, {}, "state.number is missing"),
        (Inner, {"number": "3"}, "state.number: '3' is not int"),
        (Inner, {"number": True}, "state.number: True is not int"),
        (Inner, [], r"state: \[\] is not Inner"),
        (dict[int, Inner], [[1, {"number": 1, "ratio": "x"}]], r"state\[1\].ratio: 'x' is not float"),
        (dict[int, int], [[1]], r"state: \[1\] is not a pair"),
        (list[int], [1, None], r"state\[1\]: None is not int"),
        (tuple[int, int], [1], "a tuple of 2"),
        (Colour, "green", "'green' is not a valid Colour"),
        (Literal["a"], "b", "'b' is not"),
        (bytes, "*", "state: "),
        (int | None, "x", "'x' is not int"),
    ],
)
def test_what_does_not_fit_is_named(kind: Any, plain: Any, where: str) -> None:
    with pytest.raises(ValueError, match=where):
        from_plain(kind, plain)


def test_what_has_no_plain_form() -> None:
    with pytest.raises(TypeError, match="object has no plain form"):
        to_plain({"a": [object()]})
