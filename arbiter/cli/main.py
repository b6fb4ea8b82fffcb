"""The `arbiter` command.

Neighbours: `words` takes the command line apart, `config.sources` loads the configuration, `serving` serves
it. Its one rule: what the operator can mend is told in sentences on standard error, without a traceback of
ours, and with an exit status of `errors.ExitStatus`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, NoReturn, TypeAlias

from arbiter import application, early
from arbiter.config.snapshot import Config
from arbiter.config.sources import Loader
from arbiter.counted import counted
from arbiter.errors import AppError, ExitStatus, OperatorError
from arbiter.link import spawn
from arbiter.supervisor import errand
from arbiter.workers import doctor, hygiene

Serve: TypeAlias = Callable[[Loader, Config], int]
"""Runs an arbiter until it has stopped; the exit status."""

Words: TypeAlias = Callable[[Sequence[str]], dict[str, Any] | int]
"""Takes a command line apart, as `words.read` does."""


def _read_here(arguments: Sequence[str]) -> dict[str, Any] | int:
    read: Words = importlib.import_module("arbiter.cli.words").read
    return read(arguments)


def _read_apart(arguments: Sequence[str]) -> dict[str, Any] | int:
    """As `words.read`, in a process that takes click with it when it ends."""
    read, write = os.pipe()

    def child() -> int:
        os.close(read)
        said = _read_here(arguments)
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _hush()
        with os.fdopen(write, "w") as pipe:
            json.dump(said, pipe)
        return 0

    pid = spawn.fork(child)
    os.close(write)
    try:
        _serving()  # which is most of what this process loads, and takes longer than the other
    finally:
        with os.fdopen(read) as pipe:
            text = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not text:
        print(f"arbiter: the command line could not be read (status {status})", file=sys.stderr)
        return ExitStatus.FAILURE
    said: dict[str, Any] | int = json.loads(text)
    return said


def main() -> NoReturn:
    """Run the command of this process's command line. Called by `__main__`."""
    try:
        given = errand.read(sys.argv, sys.orig_argv)
        arguments, cwd = sys.argv[1:], _cwd(os.environ)
        if given is None:
            status = run(arguments, os.environ, cwd, lambda *what: _serving().serve(*what))
        else:
            status = _serving().inherit(given, lambda *ways: run(arguments, os.environ, cwd, *ways))
        sys.stdout.flush()
    except BrokenPipeError:  # `arbiter --print-config | head`: whoever reads has read enough
        _hush()
        status = ExitStatus.OK
    others = set(threading.enumerate()) - {threading.main_thread()}
    if any(not thread.daemon for thread in others):
        # An application that was imported to be checked has left a thread, which Python would wait for.
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _serving() -> ModuleType:
    return importlib.import_module("arbiter.cli.serving")


def run(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    cwd: str,
    serve: Serve,
    load: Callable[[Loader], Config] = Loader.load,
    *,
    words: Words = _read_apart,
) -> int:
    """Do what the command line says and return the exit status."""
    given = words(arguments)
    if isinstance(given, int):
        return given
    loader = Loader(given, environ, cwd)
    try:
        config = load(loader)
        if config.print_config or config.check_config:
            early.let_go()
        if config.print_config:
            print(importlib.import_module("arbiter.config.render").print_config(config))
            return ExitStatus.OK
        if config.check_config:
            return _check(config)
        return serve(loader, config)
    except OperatorError as error:
        print(f"arbiter: {error}", file=sys.stderr)
        if isinstance(error, AppError) and error.traceback:
            print(f"\n{error.traceback}", end="", file=sys.stderr)
        return error.status


def _hush() -> None:
    """Nobody reads standard output any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _check(config: Config) -> int:
    """Import the application as a worker would, in this process. Raises `AppError`."""
    for notice in config.notices:
        print(f"arbiter: note: {notice}", file=sys.stderr)
    os.environ.update(config.environment())
    application.prepare_paths(config)
    origin = config.variable_origin(application.DJANGO)
    app = application.load(config.wsgi_app, config.worker_class, origin)
    kind = application.dispatcher_name(app, config)
    addresses = ", ".join(str(address) for address in config.bind)
    fewest = f"{config.workers_min} to " if config.workers_max else ""
    count = fewest + counted(config.workers_max or config.workers, f"{kind} worker")
    print(f"The configuration is in order: {app.spec} is {app.kind.upper()}, for {count} on {addresses}.")
    for line in _fork_safety(config):
        print(line)
    return ExitStatus.OK


def _fork_safety(config: Config) -> Iterator[str]:
    """What a mold would find out about the application, which this process has loaded."""
    if config.preload_app == "off":
        return
    gc.collect()
    hygiene.tidy()
    unsafe = doctor.examine()
    if not unsafe:
        yield "The application survives a fork: it is loaded once, and workers are forked from that."
        return
    if config.preload_app == "auto":
        yield "The application does not survive a fork, so every worker loads it by itself:"
    else:
        yield "The application does not survive a fork, and preload_app = True forks it all the same:"
    yield from (f"  - {what}" for what in unsafe)
    yield "docs/fork-safety.md has the remedies."


def _cwd(environ: Mapping[str, str]) -> str:
    """The working directory, by the name it was entered with: a link that a reload shall follow anew."""
    logical = environ.get("PWD", "")
    try:
        if os.path.isabs(logical) and os.path.samefile(logical, os.curdir):
            return logical
    except OSError:
        pass
    return os.getcwd()
