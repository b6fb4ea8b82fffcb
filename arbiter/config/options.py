"""The command line's options, made from the table.

Neighbours: `cli` builds its command of them, `sources` reads ARBITER_CMD_ARGS with them. Its one rule: click
only takes the words apart; what they mean is read by the kinds, so that a fault reads the same wherever the
value was written.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Final

import click
from click.core import ParameterSource

from arbiter.config.gunicorn import FOREIGN, Foreign
from arbiter.config.setting import Setting
from arbiter.config.table import APP, SECTIONS, TABLE
from arbiter.config.uvicorn import INSTEAD

FLAGS: Final = frozenset(flag for setting in TABLE.values() for flag in setting.flags)
"""The flags that do something."""


class SectionedCommand(click.Command):
    """A command whose help lists its options under the titles of the table."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        shown = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        records = {param.name: param.get_help_record(ctx) for param in shown}
        known = {name for section in SECTIONS for name in (setting.name for setting in section.settings)}
        titled = [(section.title, [setting.name for setting in section.settings]) for section in SECTIONS]
        titled.append(("Help", [name for name in records if name is not None and name not in known]))
        for title, names in titled:
            rows = [record for name in names if (record := records.get(name))]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def parameters() -> list[click.Parameter]:
    """The argument APP and the options: those of the table, and gunicorn's that arbiter only explains."""
    result: list[click.Parameter] = [click.Argument([APP], required=False, metavar="[APP]")]
    result += [_option(setting) for setting in TABLE.values() if setting.flags]
    result += [_foreign_option(foreign) for foreign in FOREIGN.values() if foreign.flags]
    return result


def _option(setting: Setting) -> click.Option:
    help = _help(setting)
    if setting.kind.switch:
        *short, flag = setting.flags
        if flag.startswith("--no-"):  # gunicorn's way to say that something is off
            return click.Option([setting.name, *setting.flags], is_flag=True, default=None, help=help)
        return click.Option(
            [setting.name, *short, f"{flag}/--no-{flag.removeprefix('--')}"], default=None, help=help
        )
    return click.Option(
        [setting.name, *setting.flags],
        metavar=setting.kind.metavar,
        multiple=setting.kind.many,
        help=help,
    )


def _help(setting: Setting) -> str:
    """The first sentence of the text, and the default."""
    sentence = setting.text.replace("`", "").partition(". ")[0].rstrip(".")
    if setting.default in (None, False, "", [], {}):
        return f"{sentence}."
    if setting.default is True:
        return f"{sentence}. [on]"
    default = setting.show(setting.read(setting.default)).strip("[]").replace("'", "").replace('"', "")
    return f"{sentence}. [{default}]" if len(default) <= 30 else f"{sentence}."


def _foreign_option(foreign: Foreign) -> click.Option:
    if foreign.switch:
        return click.Option([foreign.name, *foreign.flags], is_flag=True, default=None, hidden=True)
    return click.Option([foreign.name, *foreign.flags], hidden=True)


def given(ctx: click.Context) -> dict[str, Any]:
    """The values that were given on a command line, by setting, as they were written."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in ctx.params.items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE and value is not None
    }


def parse_text(text: str) -> dict[str, Any]:
    """As `parse`, for a command line as it would be typed. Raises ValueError."""
    return parse(shlex.split(text))


def parse(words: Sequence[str]) -> dict[str, Any]:
    """The values in the words of a command line. Raises ValueError."""
    command = click.Command("arbiter", params=parameters(), add_help_option=False)
    try:
        return given(command.make_context("arbiter", list(words)))
    except click.UsageError as error:
        raise ValueError(explained(error).format_message()) from None


def explained(error: click.UsageError) -> click.UsageError:
    """The error, of a flag that is not known with what to write: arbiter's way for one of uvicorn's, else the
    nearest flags that do something.
    """
    if not isinstance(error, click.NoSuchOption):
        return error
    instead = INSTEAD.get(error.option_name)
    if instead is not None:
        return click.UsageError(
            f"No such option {error.option_name!r}, which is uvicorn's. {instead}", error.ctx
        )
    near = [flag for flag in error.possibilities or () if flag in FLAGS]
    return click.NoSuchOption(error.option_name, possibilities=near, ctx=error.ctx)
