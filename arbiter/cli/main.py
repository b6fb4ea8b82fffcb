"""The `arbiter` command.

Neighbours: `config.options` makes its options, `config.sources` loads the configuration, `supervisor.host`
serves it with the entry point of `workers`. Its one rule: what the operator can mend is told in sentences on
standard error, without a traceback of ours, and with an exit status of `errors.ExitStatus`.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NoReturn, TypeAlias

import click

from arbiter import application
from arbiter.config import options, render
from arbiter.config.snapshot import Config
from arbiter.config.sources import Loader
from arbiter.errors import AppError, ExitStatus, OperatorError
from arbiter.supervisor import heir, host, upgrade
from arbiter.supervisor.handover import FormError
from arbiter.supervisor.upgrade import Errand
from arbiter.version import __version__
from arbiter.workers import doctor, hygiene, process

Serve: TypeAlias = Callable[[Loader, Config], int]
"""Runs an arbiter until it has stopped; the exit status."""

HELP = """Serve the WSGI or ASGI application APP with several worker processes.

APP is module:attribute, module:factory() or module; it may stand in the configuration file instead, as may
every option. docs/settings.md says more about each.
"""


def main() -> NoReturn:
    """Entry point of the console script and of `python -m arbiter`."""
    try:
        errand = upgrade.errand(sys.argv, sys.orig_argv)
        if errand is None:
            status = run(sys.argv[1:], os.environ, _cwd(os.environ), _serve)
        else:
            status = _inherit(errand)
        sys.stdout.flush()
    except BrokenPipeError:  # `arbiter --print-config | head`: whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = ExitStatus.OK
    others = set(threading.enumerate()) - {threading.main_thread()}
    if any(not thread.daemon for thread in others):
        # An application that was imported to be checked has left a thread, which Python would wait for.
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _inherit(errand: Errand) -> int:
    """Do what the arbiter has started this program for: see `supervisor.upgrade`."""
    arguments, environ = sys.argv[1:], os.environ
    try:
        if errand.verdict >= 0:
            for module, _ in process.DISPATCHERS.values():
                importlib.import_module(module)
            prove = partial(heir.prove, errand, entry=process.run)
            return run(arguments, environ, _cwd(environ), prove)
        inherited = heir.Heir(errand)
        inherited.begin()
        serve = partial(inherited.serve, entry=process.run)
        return run(arguments, environ, _cwd(environ), serve, inherited.load)
    except FormError as error:
        click.echo(f"arbiter: {error}", err=True)
        return ExitStatus.FAILURE


def run(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    cwd: str,
    serve: Serve,
    load: Callable[[Loader], Config] = Loader.load,
) -> int:
    """Do what the command line says and return the exit status."""
    try:
        with _command().make_context("arbiter", list(arguments)) as ctx:
            loader = Loader(options.given(ctx), environ, cwd)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        if isinstance(error, click.NoSuchOption) and error.possibilities:
            near = [flag for flag in error.possibilities if flag in options.FLAGS]
            error = click.NoSuchOption(error.option_name, possibilities=near, ctx=error.ctx)
        error.show()
        return ExitStatus.USAGE
    try:
        config = load(loader)
        if config.print_config:
            click.echo(render.print_config(config))
            return ExitStatus.OK
        if config.check_config:
            return _check(config)
        return serve(loader, config)
    except OperatorError as error:
        click.echo(f"arbiter: {error}", err=True)
        if isinstance(error, AppError) and error.traceback:
            click.echo(f"\n{error.traceback}", err=True, nl=False)
        return error.status


def _serve(loader: Loader, config: Config) -> int:
    return host.serve(loader, config, process.run)


def _command() -> click.Command:
    version = click.Option(
        ["-v", "--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_print_version,
        help="Show the version and exit.",
    )
    return options.SectionedCommand(
        "arbiter",
        params=[*options.parameters(), version],
        help=HELP,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"arbiter {__version__}")
        ctx.exit()


def _check(config: Config) -> int:
    """Import the application as a worker would, in this process. Raises `AppError`."""
    for notice in config.notices:
        click.echo(f"arbiter: note: {notice}", err=True)
    os.environ.update(config.environment())
    application.prepare_paths(config)
    origin = config.variable_origin(application.DJANGO)
    app = application.load(config.wsgi_app, config.worker_class, origin)
    kind = application.dispatcher_name(app, config)
    addresses = ", ".join(str(address) for address in config.bind)
    number = f"{config.workers_min} to {config.workers_max}" if config.workers_max else str(config.workers)
    count = f"{number} {kind} worker{'' if number == '1' else 's'}"
    click.echo(
        f"The configuration is in order: {app.spec} is {app.kind.upper()}, for {count} on {addresses}."
    )
    for line in _fork_safety(config):
        click.echo(line)
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
