"""The `arbiterctl` command.

Neighbours: its words and their parameters are made from `control.commands`; `control.client` asks,
`control.render` puts the answers into words, `top` is the live one. Its one rule: every word has `--json`,
an exit status of `errors.ControlStatus`, and says on standard error why it was not obeyed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import click

from arbiter.cli import top
from arbiter.control import render
from arbiter.control.client import Client, locate
from arbiter.control.commands import COMMANDS, WORDS, Command, Parameter
from arbiter.control.session import Fault, FaultKind
from arbiter.errors import ControlError, ControlStatus
from arbiter.version import __version__

HELP: Final = """Look at a running arbiter and steer it.

Without --name, --socket or --pidfile it talks to the only arbiter of this user. Every word exits with 0 when
it was done; docs/control.md has the other statuses.
"""
STATUSES: Final = {
    FaultKind.USAGE: ControlStatus.USAGE,
    FaultKind.FORBIDDEN: ControlStatus.FORBIDDEN,
    FaultKind.REFUSED: ControlStatus.REFUSED,
    FaultKind.FAILED: ControlStatus.FAILED,
    FaultKind.BUSY: ControlStatus.REFUSED,
    FaultKind.FULL: ControlStatus.REFUSED,
}
SOCKET_VARIABLE: Final = "ARBITER_CONTROL_SOCKET"


@dataclass
class Where:
    """Which arbiter is meant, and how its answers are shown."""

    name: str | None
    socket: str | None
    pidfile: str | None
    json: bool

    def connect(self) -> Client:
        """Raises `ControlError`."""
        if self.socket is not None:
            return Client(self.socket, trusted=True)
        return Client(locate(os.environ, os.getcwd(), self.name, self.pidfile))


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Do what the command line says and return the exit status."""
    try:
        result = build().main(arguments, "arbiterctl", standalone_mode=False)
        return int(result) if isinstance(result, int) else int(ControlStatus.OK)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return ControlStatus.USAGE
    except click.Abort:
        return 130
    except Fault as fault:
        click.echo(f"arbiterctl: {render.clean_lines(str(fault))}", err=True)
        return STATUSES[fault.kind]
    except ControlError as error:
        click.echo(f"arbiterctl: {error}", err=True)
        return error.status
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the interpreter flushes it at its end
        return ControlStatus.OK


def build() -> click.Group:
    """The command, made from the table."""

    @click.group(
        help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
    )
    @click.option("-n", "--name", help="The arbiter's name (its proc_name).")
    @click.option("-s", "--socket", envvar=SOCKET_VARIABLE, help="The path of its control socket.")
    @click.option("-p", "--pidfile", help="Its pidfile.")
    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON, one object a line.")
    @click.version_option(__version__, prog_name="arbiterctl")
    @click.pass_context
    def arbiterctl(
        ctx: click.Context, name: str | None, socket: str | None, pidfile: str | None, as_json: bool
    ) -> None:
        ctx.obj = Where(name, socket, pidfile, as_json)

    for row in WORDS.values():
        arbiterctl.add_command(_word(row))
    return arbiterctl


def _word(row: Command) -> click.Command:
    variants = [other for other in COMMANDS if other.word == row.word and other is not row]
    help = "\n\n".join([row.help, *(f"{other.usage}: {other.help}" for other in variants)])
    as_json = click.Option(["--json", "as_json"], is_flag=True, help="Answer in JSON, one object a line.")
    parameters = [_parameter(one) for one in row.parameters]

    @click.pass_context
    def callback(ctx: click.Context, /, as_json: bool, **arguments: Any) -> int:
        where: Where = ctx.obj
        where.json = where.json or as_json
        try:
            return SHOWN.get(row.word, _plainly)(where, row, arguments)
        except (Fault, ControlError) as error:
            if where.json:
                status = STATUSES[error.kind] if isinstance(error, Fault) else error.status
                said = {"status": int(status), "name": status.name, "message": str(error)}
                click.echo(json.dumps({"fault": said}))
            raise

    return click.Command(
        row.word,
        params=[*parameters, as_json],
        callback=callback,
        help=help,
        short_help=row.help.split(". ")[0].split(";")[0].rstrip("."),
        # "-1" is a number of workers, not an option.
        context_settings={"ignore_unknown_options": row.word == "scale"},
    )


def _parameter(one: Parameter) -> click.Parameter:
    kind: click.ParamType[Any] = click.INT if one.kind == "number" else click.STRING
    if one.choices:
        kind = click.Choice(one.choices)
    if not one.flags:
        return click.Argument([one.name], required=one.required, type=kind, metavar=one.metavar or None)
    if one.kind == "switch":
        return click.Option([one.name, *one.flags], is_flag=True, help=one.help)
    return click.Option([one.name, *one.flags], type=kind, metavar=one.metavar or None, help=one.help)


# -- how each word's answer is shown


def _print(lines: Iterable[str]) -> int:
    for line in lines:
        click.echo(line)
    return ControlStatus.OK


def _plainly(where: Where, row: Command, arguments: dict[str, Any]) -> int:
    """Words whose answer is a sentence, or takes its time."""
    waits = bool(arguments.get("wait"))
    with where.connect() as client:
        for kind, what in client.follow(row.word, lasting=waits or row.word == "check", **arguments):
            if where.json:
                click.echo(json.dumps({kind: what}))
            elif kind == "progress":
                click.echo(render.happening_line(what))
            elif what.get("said"):
                click.echo(render.clean_lines(what["said"]))
            if kind == "result":
                return ControlStatus.OK
    if row.word == "stop":  # it has, and the connection with it
        return ControlStatus.OK
    raise ControlError("the arbiter has ended meanwhile", status=ControlStatus.GONE)


def _shown(
    lines: Callable[[dict[str, Any]], Iterable[str]],
) -> Callable[[Where, Command, dict[str, Any]], int]:
    """A word whose answer has a form of its own."""

    def show(where: Where, row: Command, arguments: dict[str, Any]) -> int:
        with where.connect() as client:
            answer = client.ask(row.word, **arguments)
        return _print([json.dumps(answer)] if where.json else lines(answer))

    return show


def _events(where: Where, row: Command, arguments: dict[str, Any]) -> int:
    def line(event: dict[str, Any]) -> str:
        return json.dumps(event) if where.json else render.happening_line(event)

    with where.connect() as client:
        try:
            for kind, what in client.follow(row.word, lasting=bool(arguments["follow"]), **arguments):
                _print(line(event) for event in ([what] if kind == "progress" else what["events"]))
                if kind == "result":
                    return ControlStatus.OK
        except KeyboardInterrupt:
            return ControlStatus.OK
    raise ControlError("the arbiter has ended", status=ControlStatus.GONE)


def _ping(where: Where, row: Command, arguments: dict[str, Any]) -> int:
    with where.connect() as client:
        began = time.monotonic()
        answer = client.ask("ping")
        took = time.monotonic() - began
    if where.json:
        return _print([json.dumps({**answer, "seconds": took})])
    return _print(
        [f"{render.clean(answer['name'])} (pid {answer['pid']}) answers in {render.duration(took)}"]
    )


def _version(where: Where, row: Command, arguments: dict[str, Any]) -> int:
    with where.connect() as client:
        answer = client.ask("version")
    if where.json:
        return _print([json.dumps({**answer, "arbiterctl": __version__})])
    return _print(
        [f"arbiter {answer['version']} on Python {answer['python']}", f"this arbiterctl: {__version__}"]
    )


def _top(where: Where, row: Command, arguments: dict[str, Any]) -> int:
    if where.json:
        return _shown(lambda answer: [])(where, WORDS["status"], {})
    with where.connect() as client:
        return top.run(client)


SHOWN: Final[dict[str, Callable[[Where, Command, dict[str, Any]], int]]] = {
    "generations": _shown(render.generation_lines),
    "status": _shown(lambda answer: render.status_lines(answer, time.time())),
    "top": _top,
    "show": _shown(render.show_lines),
    "stacks": _shown(lambda a: [f"{a['worker']}:", *render.clean_lines(a["stacks"]).splitlines()]),
    "slow": _shown(render.slow_lines),
    "events": _events,
    "config": _shown(render.config_lines),
    "metrics": _shown(lambda answer: [answer["text"].rstrip("\n")]),
    "ping": _ping,
    "version": _version,
}

if __name__ == "__main__":
    main()
