"""The pages, or parts of pages, that are made from the code: `make docs` writes them, a test compares them.

A generated part stands between `<!-- made from NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import enum
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path

from arbiter import errors
from arbiter.control.commands import COMMANDS, SIGNALLED, Role
from arbiter.control.happenings import HAPPENINGS
from arbiter.observe.access import ATOMS
from arbiter.observe.metrics import FAMILIES
from arbiter.observe.names import NAMES
from tests import autoscale

ROOT = Path(__file__).parents[2]
_PART = re.compile(r"(<!-- made from (?P<name>[\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _commands() -> str:
    rows = []
    for command, _ in SIGNALLED:
        signals = ", ".join("`" + number.name.removeprefix("SIG") + "`" for number in command.signals)
        word = f"`arbiterctl {command.usage}`" if command.usage else ""
        rows.append(f"| {signals} | {word} | {command.help} |")
    head = ["| signal to the arbiter | the same by word | what it does |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows])


def _words() -> str:
    roles = {Role.OBSERVER: "observer", Role.OPERATOR: "operator", Role.ADMIN: "admin"}
    rows = []
    for command in COMMANDS:
        if command.usage:
            flags = " ".join(f"[{one.flags[-1]}]" for one in command.parameters if one.flags)
            word = f"`{command.usage}{' ' + flags if flags else ''}`"
            signals = ", ".join(number.name.removeprefix("SIG") for number in command.signals)
            rows.append(f"| {word} | {command.help} | {roles[command.role]} | {signals} |")
    return "\n".join(["| word | what it does | role | signal |", "| --- | --- | --- | --- |", *rows])


def _happenings() -> str:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in HAPPENINGS.items()]
    return "\n".join(["| event | what has happened |", "| --- | --- |", *rows])


def _records() -> str:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in NAMES.items()]
    return "\n".join(["| name | what happened |", "| --- | --- |", *rows])


def _metrics() -> str:
    rows = []
    for family in FAMILIES.values():
        names = ", ".join(f"`{name}`" for name in family.samples)
        labels = ", ".join(f"`{label}`" for label in family.labels)
        rows.append(f"| {names} | {family.type} | {labels} | {family.help} |")
    return "\n".join(["| name | type | labels | what it says |", "| --- | --- | --- | --- |", *rows])


def _statuses(kind: type[enum.IntEnum] = errors.ExitStatus) -> str:
    """The docstrings below the members of a status; not kept at run time, so read from the source."""
    tree = ast.parse(Path(errors.__file__).read_text())
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    body = next(node for node in classes if node.name == kind.__name__).body
    rows = []
    for member, text in itertools.pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr):
            name = ast.unparse(member.targets[0])
            meaning = " ".join(ast.literal_eval(text.value).split())
            rows.append(f"| {kind[name].value} | `{name}` | {meaning} |")
    assert len(rows) == len(kind)
    return "\n".join(["| status | name | meaning |", "| --- | --- | --- |", *rows])


def _atoms() -> str:
    rows = [f"| `%({name})s` | {atom.meaning} |" for name, atom in ATOMS.items()]
    rows += [
        "| `%({name}i)s` | a field of the request |",
        "| `%({name}o)s` | a field of the answer |",
        "| `%({name}e)s` | a variable of the WSGI environ (under ASGI: as it would be) |",
    ]
    return "\n".join(["| atom | what it shows |", "| --- | --- |", *rows])


PARTS: dict[str, Callable[[], str]] = {
    "arbiter.control.commands": _commands,
    "arbiter.control.words": _words,
    "arbiter.control.happenings": _happenings,
    "arbiter.errors.ControlStatus": lambda: _statuses(errors.ControlStatus),
    "arbiter.errors.ExitStatus": _statuses,
    "arbiter.observe.metrics.FAMILIES": _metrics,
    "arbiter.observe.access.ATOMS": _atoms,
    "arbiter.observe.names": _records,
    "tests.autoscale": autoscale.table,
}


def pages() -> list[Path]:
    """Every page of the project, wherever a generated part may stand."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


def fresh(text: str) -> str:
    """The page as it should be: every generated part made anew."""
    return _PART.sub(lambda part: f"{part[1]}{PARTS[part['name']]()}\n{part[3]}", text)


def main() -> int:
    """Say which pages are out of date; with --write, write them."""
    stale = [page for page in pages() if fresh(page.read_text()) != page.read_text()]
    for page in stale:
        if "--write" in sys.argv:
            page.write_text(fresh(page.read_text()))
        print(("written: " if "--write" in sys.argv else "out of date: ") + str(page.relative_to(ROOT)))
    return 1 if stale and "--write" not in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
