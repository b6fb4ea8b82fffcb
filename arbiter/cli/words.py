"""The words of the `arbiter` command, taken apart by click.

Neighbours: `main` has it done by a process of its own; `config.options` makes the options. Its one rule: it
is imported by nobody who stays. click and what it needs are a tenth of an arbiter's memory, for a moment's
work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from arbiter.config import options
from arbiter.errors import ExitStatus
from arbiter.version import __version__

HELP = """Serve the WSGI or ASGI application APP with several worker processes.

APP is module:attribute, module:factory() or module; it may stand in the configuration file instead, as may
every option. docs/settings.md says more about each.
"""


def read(arguments: Sequence[str]) -> dict[str, Any] | int:
    """The values given on a command line, by setting, as they were written.

    An exit status if nothing is to be served: what was asked (`--help`) or is wrong has been said then.
    """
    try:
        with _command().make_context("arbiter", list(arguments)) as ctx:
            return options.given(ctx)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        options.explained(error).show()
        return ExitStatus.USAGE


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
