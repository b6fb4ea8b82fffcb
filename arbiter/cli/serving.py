"""What of the command needs the supervisor: to serve, and to do another arbiter's errand.

Neighbours: `main` loads it while another process takes the command line apart, and calls it; it hands the
worker's entry point to `supervisor.host` and `heir`. Its one rule: nothing here knows of words or options;
what serves is given a configuration.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from arbiter.config.snapshot import Config
from arbiter.config.sources import Loader
from arbiter.errors import ExitStatus
from arbiter.supervisor import heir, host
from arbiter.supervisor.errand import Errand
from arbiter.supervisor.handover import FormError
from arbiter.workers import process

Serve: TypeAlias = Callable[[Loader, Config], int]
"""Runs an arbiter until it has stopped; the exit status."""


def serve(loader: Loader, config: Config) -> int:
    """Be an arbiter from its start to its end; the exit status. Raises `OperatorError`."""
    return host.serve(loader, config, process.run)


def inherit(errand: Errand, run: Callable[[Serve, Callable[[Loader], Config]], int]) -> int:
    """Do what an arbiter has started this program for (see `supervisor.upgrade`); the exit status.

    run: has the configuration loaded and served as it is told.
    """
    try:
        if errand.verdict >= 0:
            for module, _ in process.DISPATCHERS.values():
                importlib.import_module(module)
            return run(partial(heir.prove, errand, entry=process.run), Loader.load)
        inherited = heir.Heir(errand)
        inherited.begin()
        return run(partial(inherited.serve, entry=process.run), inherited.load)
    except FormError as error:
        print(f"arbiter: {error}", file=sys.stderr)
        return ExitStatus.FAILURE
