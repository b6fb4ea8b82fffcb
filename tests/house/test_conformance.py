"""docs/conformance.md is complete, and what it names is there."""

from __future__ import annotations

import pytest

from tests.house.conformance import PAGE, REASON, STATEMENTS, claimed, claims, fresh, proven, rows

ALL = {(table, number) for table, count in STATEMENTS.items() for number in range(1, count + 1)}


def test_every_statement_is_on_the_page() -> None:
    assert set(rows(PAGE.read_text())) == ALL


def test_every_statement_has_a_test_or_a_reason() -> None:
    bare = [
        statement
        for statement, cell in rows(PAGE.read_text()).items()
        if not proven(cell) and not (cell.startswith(REASON) and len(cell) > len(REASON) + 20)
    ]
    assert bare == []


def test_every_test_named_is_there_and_claims_the_statement() -> None:
    """Not the other way round: a new test may wait for the next `make docs`."""
    lost = [
        (statement, test)
        for statement, cell in rows(PAGE.read_text()).items()
        for test in proven(cell)
        if test not in claims().get(statement, [])
    ]
    assert lost == [], "run `make docs`"


def test_no_test_claims_what_there_is_not() -> None:
    assert set(claims()) - ALL == set()


def test_writing_it_again_changes_nothing() -> None:
    once = fresh(PAGE.read_text())
    assert fresh(once) == once


@pytest.mark.parametrize(
    ("docstring", "statements"),
    [
        ("http.md 19: no", {("http", 19)}),
        (
            "http.md 1-3, 7; asgi.md 5 and wsgi.md 2.",
            {("http", n) for n in (1, 2, 3, 7)} | {("asgi", 5), ("wsgi", 2)},
        ),
        ("asgi.md 58,\n    59: over two lines", {("asgi", 58), ("asgi", 59)}),
        ("RFC 9112 5", set()),
    ],
)
def test_how_a_docstring_is_read(docstring: str, statements: set[tuple[str, int]]) -> None:
    assert claimed(docstring) == statements
