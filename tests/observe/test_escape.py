"""Foreign text in a log: printable, reversible, bounded."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.observe.escape import (
    ENTRIES,
    LONGEST,
    Memo,
    json_member,
    json_text,
    or_dash,
    printable,
    quotable,
)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain text", "plain text"),
        ('a"b\\c', 'a\\"b\\\\c'),
        ("\r\n\t", "\\r\\n\\t"),
        ("\x1b[31m\x00", "\\x1b[31m\\x00"),
        ("ü€😀", "\\xfc\\u20ac\\U0001f600"),
        (b"caf\xe9", "caf\\xe9"),
        (None, ""),
        (7, "7"),
    ],
)
def test_quotable(text: object, escaped: str) -> None:
    assert quotable(text) == escaped


def test_nothing_is_a_dash_or_null() -> None:
    assert [or_dash(value) for value in (None, "", b"")] == ["-"] * 3
    assert [json_text(value) for value in (None, "", b"")] == ["null"] * 3
    assert json_member("a")("") == ""


@given(st.text())
def test_json_text_can_be_read_back(text: str) -> None:
    made = json_text(text)
    assert made.isascii()
    assert (json.loads(made) or "") == text
    assert json.loads("{" + json_member("x")(text).lstrip(",") + "}").get("x", "") == text


@given(st.text())
def test_printable_leaves_no_control_character(text: str) -> None:
    made = printable(text)
    assert all(char in "\n\t" or not (ord(char) < 32 or 127 <= ord(char) < 160) for char in made)
    assert not set(made) & {"\u2028", "\u2029"}


def test_a_memo_is_bounded() -> None:
    calls: list[object] = []

    def make(value: object) -> str:
        calls.append(value)
        return str(value)

    memo = Memo(make)
    assert memo["a"] == memo["a"] == "a"
    assert calls == ["a"]
    for number in range(3 * ENTRIES):
        assert memo[number] == str(number)
        assert len(memo) <= ENTRIES
    memo["x" * (LONGEST + 1)]
    assert "x" * (LONGEST + 1) not in memo
