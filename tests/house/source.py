"""The package as the house rules see it: modules, their trees, what they import."""

from __future__ import annotations

import ast
import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "arbiter"


@dataclass(frozen=True)
class Import:
    """An import of one of our own modules, or of somebody else's top-level one."""

    module: str
    line: int
    inside: bool
    """Within a function, so made when that runs."""


@dataclass(frozen=True)
class Module:
    name: str
    path: Path

    @functools.cached_property
    def text(self) -> str:
        return self.path.read_text()

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def part(self) -> str:
        """The first word below the package: "workers", "errors"."""
        return self.name.split(".")[1] if "." in self.name else ""

    @functools.cached_property
    def imports(self) -> list[Import]:
        found: list[Import] = []
        self._walk(self.tree, False, found)
        return found

    def _walk(self, node: ast.AST, inside: bool, found: list[Import]) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found += [Import(alias.name, child.lineno, inside) for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                base = self._absolute(child)
                for alias in child.names:
                    full = f"{base}.{alias.name}"
                    found.append(Import(full if full in names() else base, child.lineno, inside))
            deeper = inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            self._walk(child, deeper, found)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".")
        if self.path.name != "__init__.py":
            package = package[:-1]
        package = package[: len(package) - node.level + 1]
        return ".".join([*package, *([node.module] if node.module else [])])


@functools.cache
def modules() -> tuple[Module, ...]:
    """Every module of the package, in order."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        words = path.relative_to(ROOT).with_suffix("").parts
        found.append(Module(".".join(words[:-1] if words[-1] == "__init__" else words), path))
    return tuple(found)


@functools.cache
def names() -> frozenset[str]:
    return frozenset(
        ".".join((*path.relative_to(ROOT).parts[:-1], *([] if path.stem == "__init__" else [path.stem])))
        for path in PACKAGE.rglob("*.py")
    )


@functools.cache
def shipped() -> tuple[Path, ...]:
    """Every file of the project: what git has or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return tuple(path for path in paths if path.is_file())
