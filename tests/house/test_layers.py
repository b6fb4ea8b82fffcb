"""Imports point down and never in a circle; protocols and gateways stay pure."""

from __future__ import annotations

import pytest

from tests.house.source import Module, modules, names

HEIGHTS = {
    "__main__": 8,
    "cli": 7,
    "supervisor": 6,
    "workers": 6,
    "link": 5,
    "control": 4,
    "gateways": 4,
    "application": 4,
    "hooks": 4,
    "config": 3,
    "observe": 2,
    "protocols": 1,
    "errors": 0,
    "counted": -1,
    "deadline": 0,
    "version": 0,
    "early": 0,
    "": 1,
}
"""A module imports from its own part and from lower ones; parts of one height do not know each other."""

PURE = {"protocols", "gateways"}
IMPURE = {
    "asyncio",
    "fcntl",
    "logging",
    "multiprocessing",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "time",
    "uvloop",
}
"""What sans-IO code has no use for: descriptors, clocks, processes, logs."""

_LOOPS = {"asyncio", "uvloop"}
_THREADS = {"threading", "concurrent", "multiprocessing"}

every_module = pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)


@every_module
def test_the_part_has_a_place(module: Module) -> None:
    assert module.part in HEIGHTS


@every_module
def test_imports_point_down(module: Module) -> None:
    height = HEIGHTS[module.part]
    for imported in module.imports:
        if imported.module.split(".")[0] != "arbiter":
            continue
        part = imported.module.split(".")[1] if "." in imported.module else ""
        assert part == module.part or HEIGHTS[part] < height, (
            f"{module.name}:{imported.line} imports {imported.module}"
        )


@every_module
def test_no_import_of_ours_waits_in_a_function(module: Module) -> None:
    """A late import hides a dependency, most often a circle."""
    late = [i for i in module.imports if i.inside and i.module.split(".")[0] == "arbiter"]
    assert late == [], f"{module.name} imports within a function"


def test_no_circle() -> None:
    """Depth-first through the modules as they import each other."""
    graph = {module.name: {i.module for i in module.imports} & names() for module in modules()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name in done:
            return
        # A package's __init__ that lists its own modules is their face, not a dependency of theirs.
        for below in graph[name]:
            visit(below, (*way, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@every_module
def test_the_pure_parts_are_pure(module: Module) -> None:
    """No input or output, no clock, no log; gateways.asgi_* may use asyncio's primitives."""
    if module.part not in PURE:
        return
    allowed = {"asyncio"} if module.name.startswith("arbiter.gateways.asgi_") else set()
    used = {i.module.split(".")[0] for i in module.imports} & IMPURE
    assert used <= allowed, f"{module.name} imports {', '.join(sorted(used - allowed))}"


def test_the_arbiter_holds_no_event_loop() -> None:
    """Fork wants neither threads nor a shared epoll object: see design.md."""
    for module in modules():
        unwanted = {"supervisor": _THREADS | _LOOPS, "control": _THREADS | _LOOPS, "link": _LOOPS}
        used = {i.module.split(".")[0] for i in module.imports} & unwanted.get(module.part, set())
        assert not used, f"{module.name} imports {', '.join(used)}"
