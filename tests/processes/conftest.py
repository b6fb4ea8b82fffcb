"""Fixtures for tests with real processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.installed import Installed
from tests.processes.server import KINDS, Server


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start arbiters that end with the test: `serve("-w", "2", "wsgi_app")`."""
    with contextlib.ExitStack() as stack:

        def start(*options: str, **how: Any) -> Server:
            directory = how.pop("directory", tmp_path)
            return stack.enter_context(Server(directory, *options, **how))

        yield start


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    """An installation for `serve(..., env={"PYTHONPATH": str(installed.link)})` that can be exchanged."""
    return Installed(tmp_path)


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    """Each worker kind in turn."""
    return str(request.param)


@pytest.fixture
def options(kind: str) -> list[str]:
    """The command line that serves the test application with that kind."""
    return ["-k", kind, *(["--threads", "4"] if kind == "threaded" else []), f"{KINDS[kind]}:application"]
