"""Every record has a name, every name is explained, and none is made up."""

from __future__ import annotations

import ast

import pytest

from arbiter.control.happenings import HAPPENINGS
from arbiter.observe.names import NAMES
from tests.house.source import ROOT, Module, modules

LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}


def _records(module: Module) -> list[ast.Call]:
    """The calls of a log's methods."""
    return [
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and ast.unparse(node.func.value).split(".")[-1] in ("log", "_log")
    ]


def _name(call: ast.Call) -> object:
    return next((ast.unparse(word.value) for word in call.keywords if word.arg == "event"), None)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_every_record_above_debug_has_a_name(module: Module) -> None:
    if module.name == "arbiter.observe.logs":
        return
    nameless = [
        f"{module.name}:{call.lineno}"
        for call in _records(module)
        if call.func.attr != "debug" and _name(call) is None  # type: ignore[attr-defined]
    ]
    assert nameless == []


def test_every_name_is_explained_and_used() -> None:
    used = {
        ast.literal_eval(word.value)
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        for word in node.keywords
        if word.arg == "event" and isinstance(word.value, ast.Constant) and word.value.value
    }
    elsewhere = {"message", "log.dropped", "worker.output"}  # made in observe itself
    assert used - NAMES.keys() - HAPPENINGS.keys() == set()
    assert NAMES.keys() - used == elsewhere - used
    assert not NAMES.keys() & HAPPENINGS.keys()


def test_the_page_has_them_all() -> None:
    page = (ROOT / "docs" / "logging.md").read_text()
    for name, meaning in NAMES.items():
        assert f"| `{name}` | {meaning} |" in page
