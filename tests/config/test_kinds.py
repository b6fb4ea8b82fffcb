"""The general kinds: text, names, yes or no, choices, lists, dicts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiter.config.kinds import App, Choice, Dictionary, Listing, Name, Text, YesNo
from arbiter.config.quantities import Integer
from arbiter.config.table import TABLE
from arbiter.config.unreadable import Unreadable

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.binary(max_size=8),
    st.lists(st.one_of(st.text(max_size=8), st.integers(), st.none()), max_size=4),
    st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=5), st.integers()), max_size=3),
)


SPELLINGS = (
    "",
    "auto",
    "on",
    "yes",
    "2m",
    "64K",
    "a.b",
    "a:b",
    "/a/",
    "[::1]:80",
    "unix:a",
    "*",
    "10.0.0.0/8",
    "{}",
)


def attempt(name: str, value: Any) -> Any:
    """What the setting makes of the value, or the refusal."""
    try:
        return TABLE[name].read(value)
    except Unreadable as error:
        return error


@pytest.mark.parametrize("name", TABLE)
@settings(max_examples=25)
@given(value=ANYTHING)
def test_a_reader_reads_or_refuses(name: str, value: Any) -> None:
    """Whatever is written, a reader returns a value or raises Unreadable with a sentence; nothing else."""
    result = attempt(name, value)
    if isinstance(result, Unreadable):
        assert result.problem
        assert not result.problem.endswith(".")
        assert result.remedy == "" or result.remedy.endswith(".")
    else:
        assert TABLE[name].show(result)


@pytest.mark.parametrize("name", [name for name, setting in TABLE.items() if setting.kind.textual])
@settings(max_examples=25)
@given(value=st.one_of(st.text(max_size=20), st.integers().map(str), st.sampled_from(SPELLINGS)))
def test_a_value_that_was_read_reads_as_itself(name: str, value: str) -> None:
    result = attempt(name, value)
    if not isinstance(result, Unreadable):
        assert attempt(name, result) == result


def test_text() -> None:
    assert Text().read(" a b ") == " a b "
    for wrong in ("a\nb", "a\x00", "\x7f", 3, None, b"x"):
        with pytest.raises(Unreadable):
            Text().read(wrong)


def test_name() -> None:
    assert Name().read("mysite.settings ") == "mysite.settings"
    for wrong in ("mysite.", "my-site", "", "mysite:settings", "a b"):
        with pytest.raises(Unreadable):
            Name().read(wrong)


def test_app() -> None:
    for good in ("a", "a.b", "a:b", "a.b:c.d", 'a:make("x", 1)'):
        assert App().read(good) == good
    with pytest.raises(Unreadable) as caught:
        App().read("./mysite/asgi.py:application")
    assert caught.value.remedy == 'Write "mysite.asgi:application".'
    with pytest.raises(Unreadable):
        App().read("my-site:app")


@pytest.mark.parametrize("value", [True, 1, "yes", "TRUE", " on ", "1"])
def test_yes(value: Any) -> None:
    assert YesNo().read(value) is True


@pytest.mark.parametrize("value", [False, 0, "no", "False", "off", "0"])
def test_no(value: Any) -> None:
    assert YesNo().read(value) is False


@pytest.mark.parametrize("value", ["", "y", "2", 2, None, 1.5, []])
def test_neither_yes_nor_no(value: Any) -> None:
    with pytest.raises(Unreadable):
        YesNo().read(value)


class SomeWorker:
    pass


def test_choice() -> None:
    kind = Choice("one", "two", meanings={"uno": "one", "true": "two"}, refused={"three": "It is too many."})
    assert [kind.read(value) for value in ("one", "TWO ", "Uno", True)] == ["one", "two", "one", "two"]
    with pytest.raises(Unreadable) as caught:
        kind.read("three")
    assert caught.value.remedy == "It is too many."
    with pytest.raises(Unreadable, match="one of one, two"):
        kind.read(SomeWorker)


def test_listing() -> None:
    kind = Listing(Integer())
    assert kind.read("1, 2,3") == (1, 2, 3)
    assert kind.read(["1,2", 3]) == (1, 2, 3)
    assert kind.read((1,)) == (1,)
    assert kind.read({3, 1}) == (1, 3)
    assert kind.read(7) == (7,)
    assert kind.show((1, 2)) == "[1, 2]"
    with pytest.raises(Unreadable, match="is empty"):
        kind.read([])
    assert Listing(Integer(), empty=True).read("") == ()
    with pytest.raises(Unreadable, match="has 'x' in it, which is not a whole number"):
        kind.read("1,x")
    with pytest.raises(Unreadable, match=r"^is not a whole number"):
        kind.read("x")


def test_dictionary() -> None:
    assert Dictionary().read({"a": 1}) == {"a": 1}
    assert Dictionary().read('{"a": [1]}') == {"a": [1]}
    for wrong in ("{", "[1]", {1: 2}, [("a", 1)], None):
        with pytest.raises(Unreadable):
            Dictionary().read(wrong)


def test_a_long_value_is_quoted_in_part() -> None:
    assert len(Text().quote("x" * 1000)) < 90
