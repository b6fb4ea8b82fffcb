"""docs/conformance.md: what must hold, statement by statement, and the tests that prove it.

A test names what it proves in its docstring: "http.md 19, 20". The page's statements are written by hand, and
so are the reasons why one does not apply; the tests beside them are found by `make docs`. Its one rule, held
by test_conformance: no statement without a test or a reason, and no test named that does not claim it.
"""

from __future__ import annotations

import ast
import collections
import functools
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"
STATEMENTS = {"http": 51, "asgi": 94, "wsgi": 51}
"""The tables of the page, and how many statements each has."""

_CLAIM = re.compile(r"\b(http|asgi|wsgi)\.md (\d+(?:-\d+)?(?:,\s+\d+(?:-\d+)?)*)")
_ROW = re.compile(r"\| (\d+) \| (.+?) \| (.*?) ?\|")
_TABLE = re.compile(r"## `(http|asgi|wsgi)\.md`")
REASON = "Not applicable: "

Statement = tuple[str, int]


def claimed(text: str) -> set[Statement]:
    """The statements that a docstring names."""
    found = set()
    for table, numbers in _CLAIM.findall(text):
        for one in re.split(r",\s+", numbers):
            first, _, last = one.partition("-")
            found |= {(table, number) for number in range(int(first), int(last or first) + 1)}
    return found


@functools.cache
def claims() -> dict[Statement, list[str]]:
    """Of each statement, the tests that claim it: "protocols/http1/test_head.py: test_obs_fold"."""
    found = collections.defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for statement in claimed(ast.get_docstring(node) or ""):
                    found[statement].append(f"{path.relative_to(ROOT / 'tests')}: {node.name}")
    return dict(found)


def proof(tests: list[str]) -> str:
    """A table's cell: each file once, with its tests."""
    files = collections.defaultdict(list)
    for test in tests:
        file, _, name = test.partition(": ")
        files[file].append(name)
    return "; ".join(f"`{file}`: {', '.join(names)}" for file, names in files.items())


def proven(cell: str) -> list[str]:
    """What `proof` was made of."""
    if not cell or cell.startswith(REASON):
        return []
    found = []
    for part in cell.split("; "):
        file, _, names = part.partition("`: ")
        found += [f"{file.strip('`')}: {name}" for name in names.split(", ")]
    return found


def rows(text: str) -> dict[Statement, str]:
    """The last cell of each statement of the page."""
    found, table = {}, ""
    for line in text.splitlines():
        if heading := _TABLE.match(line):
            table = heading[1]
        elif row := _ROW.fullmatch(line):
            assert (table, int(row[1])) not in found, line
            found[table, int(row[1])] = row[3]
    return found


def fresh(text: str) -> str:
    """The page with the tests that are there now; reasons stay, unless a test has come."""
    lines, table = [], ""
    for line in text.splitlines():
        if heading := _TABLE.match(line):
            table = heading[1]
        elif row := _ROW.fullmatch(line):
            tests = claims().get((table, int(row[1])), [])
            line = f"| {row[1]} | {row[2]} | {proof(tests) if tests else row[3]} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> int:
    """Say whether the page is out of date; with --write, write it."""
    text = PAGE.read_text()
    if fresh(text) == text:
        return 0
    if "--write" not in sys.argv:
        print(f"out of date: {PAGE.relative_to(ROOT)}")
        return 1
    PAGE.write_text(fresh(text))
    print(f"written: {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
