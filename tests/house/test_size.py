"""One page per concept: the numbers of the house style, with nobody exempt."""

from __future__ import annotations

import ast

import pytest

from tests.house.source import ROOT, Module, modules, shipped

MODULE_LINES = 600
FUNCTION_LINES = 60
NO_RULE = ("__init__", "__main__", "version")

every_module = pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)


def test_no_module_is_longer_than_600_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in shipped() if path.suffix == ".py"}
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > MODULE_LINES} == {}


@every_module
def test_no_function_is_longer_than_60_lines(module: Module) -> None:
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    }
    assert long == {}


@every_module
def test_it_opens_with_its_role_neighbours_and_rule(module: Module) -> None:
    opening = ast.get_docstring(module.tree)
    assert opening, f"{module.name} does not say what it is for"
    if module.path.stem not in NO_RULE:
        assert "rule" in opening, f"{module.name} does not say its one rule"


@every_module
def test_public_things_are_explained(module: Module) -> None:
    """Every public class and function at the top of a module has a docstring."""
    silent = [
        node.name
        for node in module.tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []
