"""The configuration file: found, executed, and its names told apart.

Neighbours: `sources.Loader` asks for a file's values; `footprint` keeps what executing it changed. Its one
rule: a name that the operator may have meant as a setting is never passed over in silence.

A setting is a lower-case name without a leading underscore that holds a plain value and that nothing in the
file reads. What a file uses itself (`cores = 4`, `workers = cores * 2`), imports, defines as a class or a
helper function, loops over, or writes in capitals is its own affair.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from arbiter.config.footprint import Footprint, forget_listings
from arbiter.config.gunicorn import FOREIGN
from arbiter.config.nearest import nearest
from arbiter.config.system import join
from arbiter.config.table import BY_NAME, HOOKS
from arbiter.errors import Fault

IMPLICIT: Final = "arbiter.conf.py"
"""Read when no file is named."""
GUNICORN: Final = "gunicorn.conf.py"
"""Not read unless named: a file is not executed for a program that its author did not write it for."""

_MODULE: Final = "__config__"


class FileError(Exception):
    """The file cannot be used at all."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(slots=True)
class Executed:
    """An executed configuration file.

    shown: the path as messages name it; names: all that it bound; lines: where each was last bound.
    """

    shown: str
    names: dict[str, Any]
    lines: dict[str, int]
    tree: ast.Module
    footprint: Footprint = field(default_factory=Footprint)

    def origin(self, name: str) -> str:
        """`conf.py:12`, or `conf.py` for a name that was bound by other means than a statement."""
        line = self.lines.get(name)
        return f"{self.shown}:{line}" if line else self.shown


def execute(where: str, cwd: str) -> Executed:
    """Find and execute the file of a `config` setting. Raises `FileError`.

    where: `PATH`, `file:PATH` or `python:MODULE`. cwd: where relative paths start.
    """
    footprint = Footprint()
    forget_listings()
    if where.startswith("python:"):
        with footprint.taken(cwd):
            path, package = _find_module(where[7:])
        executed = _execute(path, package, _shown(path, cwd), footprint, (cwd,))
    else:
        path = join(cwd, os.path.expanduser(where.removeprefix("file:")))
        executed = _execute(path, "", _shown(path, cwd), footprint, (os.path.dirname(path), cwd))
    return executed


def _find_module(name: str) -> tuple[str, str]:
    """The source file of a module and the package it is in; its parent packages are imported."""
    fault = Fault(
        "config", repr(f"python:{name}"), "", "there is no such module", "Name one that can be imported."
    )
    if not all(part.isidentifier() for part in name.split(".")):
        raise FileError(fault)
    try:
        spec = importlib.util.find_spec(name)
    except Exception as error:
        raise FileError(
            Fault(
                "config",
                repr(f"python:{name}"),
                "",
                f"cannot be imported: {_say(error)}",
                "Mend the package.",
            )
        ) from error
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise FileError(fault)
    return spec.origin, name.rpartition(".")[0]


def _execute(
    path: str, package: str, shown: str, footprint: Footprint, importable: tuple[str, ...]
) -> Executed:
    tree, code = _compile(path, shown)
    module = ModuleType(_MODULE)
    names = module.__dict__
    names.update(__file__=path, __package__=package)
    lines = _Namespace(names, path)
    with footprint.taken(*importable):
        sys.modules[_MODULE] = module  # dataclasses and typing look their module up
        try:
            exec(code, names, lines)
        except (Exception, SystemExit) as error:
            raise FileError(_raised(error, path, shown)) from error
    return Executed(shown, dict(names), lines.lines, tree, footprint)


def _compile(path: str, shown: str) -> tuple[ast.Module, CodeType]:
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        remedies = {FileNotFoundError: "Name an existing file.", IsADirectoryError: "Name a file in it."}
        remedy = remedies.get(type(error), "Make it readable.")
        raise FileError(
            Fault("config", repr(shown), "", f"cannot be read: {error.strerror}", remedy)
        ) from error
    try:
        tree = ast.parse(source, path)
        return tree, compile(tree, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        wrong = error.text.strip() if isinstance(error, SyntaxError) and error.text else ""
        problem = f"is not Python: {text}" + (f" in `{wrong}`" if wrong else "")
        raise FileError(Fault("config", "", f"{shown}{line}", problem, "Mend the line.")) from error


def _raised(error: BaseException, path: str, shown: str) -> Fault:
    """The fault of a file that raised an exception: the line of the file, and what was raised where."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if frame.filename == path]
    origin = f"{shown}:{own[-1]}" if own else shown
    last = frames[-1] if frames else None
    place = f" in {last.filename}:{last.lineno}" if last and last.filename not in (path, __file__) else ""
    if isinstance(error, SyntaxError) and error.filename and error.filename != path:
        place = f" in {error.filename}:{error.lineno}"
    return Fault("config", "", origin, f"the file raised {_say(error)}{place}", "Mend the line.")


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _shown(path: str, cwd: str) -> str:
    """A path as messages name it: relative when it is below the directory arbiter was started in."""
    return os.path.relpath(path, cwd) if path.startswith(os.path.join(cwd, "")) else path


class _Namespace(MutableMapping[str, Any]):
    """The names of a file while it is executed; every binding by a statement of the file leaves its line.

    A class body or a comprehension sees the same names through the module's real globals, to which all goes.
    """

    def __init__(self, names: dict[str, Any], path: str) -> None:
        self.lines: dict[str, int] = {}
        self._names = names
        self._path = path

    def __setitem__(self, name: str, value: Any) -> None:
        frame = sys._getframe(1)
        if frame.f_code.co_filename == self._path:
            self.lines[name] = frame.f_lineno
        self._names[name] = value

    def __getitem__(self, name: str) -> Any:
        return self._names[name]

    def __delitem__(self, name: str) -> None:
        self.lines.pop(name, None)
        del self._names[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


# ---------------------------------------------------------------- which names are settings


def settings(executed: Executed) -> tuple[dict[str, Any], list[Fault]]:
    """The names that are settings, gunicorn's too, with values; and the faults of those that nearly are."""
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    uses = _Uses(executed.tree)
    for name, value in executed.names.items():
        if name.startswith("_"):
            continue
        known = name in BY_NAME or name in FOREIGN
        if known and not isinstance(value, ModuleType):  # `import bind` is no setting
            found[name] = value
        elif fault := _suspect(name, value, executed, uses):
            faults.append(fault)
    return found, faults


def _suspect(name: str, value: Any, executed: Executed, uses: _Uses) -> Fault | None:
    """The fault of an unknown name, or None if it is clear that it is not meant as a setting."""
    origin = executed.origin(name)
    if isinstance(value, ModuleType | type):
        return None
    if callable(value):
        near = nearest(name, HOOKS, 1, 0.85)
        if (
            not near
            or not isinstance(value, FunctionType)
            or value.__module__ != _MODULE
            or name in uses.read
        ):
            return None
        return Fault(
            name, "", origin, f"there is no such hook; the nearest is {near[0]}", "Rename the function."
        )
    if name != name.lower():
        meant = name.lower()
        if meant in BY_NAME and meant not in executed.names and name not in uses.read:
            return Fault(
                name,
                _quote(value),
                origin,
                "settings are in lower case",
                f"Write {meant}, or _{name} for a helper.",
            )
        return None
    if name in uses.read or name in uses.incidental:
        return None
    near = nearest(name, [known for known in BY_NAME if known not in HOOKS], 1, 0.6)
    if not near and name in uses.starred(executed):
        return None
    meant = f"; the nearest is {near[0]}" if near else ""
    return Fault(
        name,
        _quote(value),
        origin,
        f"there is no such setting{meant}",
        f"Correct the name, or write _{name} if it is a helper of the file's own.",
    )


def _quote(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


class _Uses(ast.NodeVisitor):
    """What the source says of its names.

    read: names whose value is used somewhere in the file; incidental: names bound by an import, a loop, a
    `with` or an `except`, none of which one sets a setting with.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.read: set[str] = set()
        self.incidental: set[str] = set()
        self._star = False
        self._named: set[str] = set()
        self.visit(tree)

    def starred(self, executed: Executed) -> set[str]:
        """Names that came by `from module import *`: what they are for can only be guessed by their names."""
        return set(executed.names) - self._named if self._star else set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.read.add(node.id)
        else:
            self._named.add(node.id)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._import(node.names)

    def visit_Import(self, node: ast.Import) -> None:
        self._import(node.names)

    def _import(self, names: list[ast.alias]) -> None:
        for alias in names:
            self._star = self._star or alias.name == "*"
            self.incidental.add(alias.asname or alias.name.partition(".")[0])

    def visit_For(self, node: ast.For) -> None:
        self._bind(node.target)
        self.generic_visit(node)

    def visit_withitem(self, node: ast.withitem) -> None:
        if node.optional_vars is not None:
            self._bind(node.optional_vars)
        self.generic_visit(node)

    def _bind(self, target: ast.expr) -> None:
        self.incidental.update(leaf.id for leaf in ast.walk(target) if isinstance(leaf, ast.Name))
