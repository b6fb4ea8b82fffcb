"""Where values come from: defaults < configuration file < environment < command line.

Neighbours: `file`, `env_file` and `options` read the single sources; `check` compares the values; the result
is a `snapshot.Config`. Its one rule: every value that was given is read, also one that a stronger source
overrides; all faults are told at once, and a load that fails leaves nothing behind.
"""

from __future__ import annotations

import enum
import importlib
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from arbiter.config import check, env_file, file
from arbiter.config.footprint import Footprint
from arbiter.config.gunicorn import FOREIGN
from arbiter.config.kinds import Listing
from arbiter.config.nearest import nearest
from arbiter.config.snapshot import Config, Entry, Variable
from arbiter.config.system import join
from arbiter.config.table import APP, BY_NAME, TABLE
from arbiter.config.unreadable import Unreadable
from arbiter.errors import ConfigError, ExitStatus, Fault

CMD_ARGS: Final = "ARBITER_CMD_ARGS"
"""The variable whose words are put before those of the command line."""
GUNICORN_ARGS: Final = "GUNICORN_CMD_ARGS"
DJANGO: Final = "DJANGO_SETTINGS_MODULE"

_PREFIX: Final = "ARBITER_"


class Level(enum.IntEnum):
    """The sources, the weakest first."""

    DEFAULT = 0
    FILE = 1
    ENVIRONMENT = 2
    ARGUMENTS = 3
    COMMAND_LINE = 4


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was given. `name` as it was written, perhaps an alias."""

    name: str
    value: object
    origin: str
    level: Level


class Loader:
    """Loads the configuration, at the start and at every reload.

    cli_values: what the command line gave, by setting (see `options.given`). environ: the environment
    arbiter was started in; a copy is kept. cwd: the directory it was started in, by the name it was called
    (a symbolic link is followed anew by every reload).
    """

    def __init__(self, cli_values: Mapping[str, Any], environ: Mapping[str, str], cwd: str) -> None:
        self.cli_values = dict(cli_values)
        self.environ = dict(environ)
        self.cwd = cwd
        self._footprint = Footprint()
        self._before = Footprint()

    def load(self) -> Config:
        """Read everything anew. Raises `ConfigError` with all faults; then nothing has changed."""
        self._footprint.undo()
        load = _Load(self.cli_values, self.environ, self.cwd)
        try:
            config = load.run()
        except BaseException:
            load.footprint.undo()
            self._footprint.redo()
            raise
        self._before, self._footprint = self._footprint, load.footprint
        return config

    def revert(self) -> None:
        """Give the last load up: what its file did to this process is undone, that of the one before redone.

        For a reload that was accepted and then failed to start, while the old configuration stays in force.
        """
        self._footprint.undo()
        self._before.redo()
        self._footprint, self._before = self._before, Footprint()


class _Load:
    """One load: collects what is given, the faults, and the notices."""

    def __init__(self, cli_values: Mapping[str, Any], environ: Mapping[str, str], cwd: str) -> None:
        self.footprint = Footprint()
        self._cli_values = cli_values
        self._environ = environ
        self._cwd = cwd
        self._given: dict[str, list[Given]] = {name: [] for name in TABLE}
        self._values: dict[str, list[tuple[Given, Any]]] = {name: [] for name in TABLE}
        self._faults: list[Fault] = []
        self._notices: list[str] = []
        self._bad: set[str] = set()

    def run(self) -> Config:
        self._take_command_line()
        self._take_environment()
        self._take_file()
        self._take_defaults()
        for name in TABLE:
            self._read(name)
        entries = self._entries()
        config = Config(entries, self._variables(entries))
        faults, notices = check.check(config, self._bad)
        self._faults += faults
        if self._faults:
            raise self._error()
        sentences = tuple(
            notice if notice.endswith((".", "?")) else f"{notice}." for notice in self._notices + notices
        )
        return Config(entries, config.variables, sentences)

    def _error(self) -> ConfigError:
        error = ConfigError(self._faults)
        if all(BY_NAME.get(fault.setting) in (TABLE["user"], TABLE["group"]) for fault in self._faults):
            error.status = ExitStatus.IDENTITY
        return error

    # -- the sources

    def _take_command_line(self) -> None:
        for name, value in self._cli_values.items():
            flag = "argument APP" if name == APP else _flag(name)
            self._take(Given(name, value, flag, Level.COMMAND_LINE))
        text = self._environ.get(CMD_ARGS, "")
        if not text.strip():
            return
        origin = f"environment {CMD_ARGS}"
        try:
            # Imported by those who need it: click, a tenth of an arbiter's memory, comes with it.
            values = importlib.import_module("arbiter.config.options").parse_text(text)
        except ValueError as error:
            said = f"cannot be understood: {str(error).rstrip('.')}"
            self._faults.append(Fault(CMD_ARGS, "", "environment", said, "See --help."))
            return
        for name, value in values.items():
            self._take(Given(name, value, origin, Level.ARGUMENTS))

    def _take_environment(self) -> None:
        for setting in TABLE.values():
            for variable in setting.environment:
                value = self._environ.get(variable)
                own = variable.startswith(_PREFIX)
                # Set to nothing, a variable of everybody's counts as not set, unless nothing is a value.
                empty_is_value = isinstance(setting.kind, Listing) and setting.kind.empty
                if value is None or (value == "" and not own and not empty_is_value):
                    continue
                self._take(Given(setting.name, value, f"environment {variable}", Level.ENVIRONMENT))
                break
        if self._environ.get(GUNICORN_ARGS, "").strip():
            self._notices.append(
                f"environment {GUNICORN_ARGS}: it is gunicorn's, and arbiter does not read it. "
                f"Put its options into {CMD_ARGS}, on the command line or in the file."
            )
        known = {variable for setting in TABLE.values() for variable in setting.environment} | {CMD_ARGS}
        for variable in sorted(self._environ):
            if not variable.startswith(_PREFIX) or variable in known:
                continue
            # Not a fault: a cluster puts variables of its own (ARBITER_SERVICE_HOST) in every container.
            near = nearest(variable, known, 1, 0.88)
            if near:
                self._notices.append(
                    f"environment {variable}: there is no such variable; is {near[0]} meant?"
                )

    def _take_file(self) -> None:
        named = max(self._given["config"], key=lambda given: given.level, default=None)
        if named is None:
            where, origin = self._implicit(), "default"
        else:
            where, origin = str(named.value), named.origin
        if not where:
            return
        try:
            executed = file.execute(where, self._cwd)
        except file.FileError as error:
            fault = error.fault
            self._faults.append(
                Fault(fault.setting, fault.value, fault.origin or origin, fault.problem, fault.remedy)
            )
            return
        self.footprint = executed.footprint
        found, faults = file.settings(executed)
        self._faults += faults
        for name, value in found.items():
            given = Given(name, value, executed.origin(name), Level.FILE)
            if name in BY_NAME and not BY_NAME[name].in_file:
                self._fault(given, "cannot be set in the file that it names", "Use -c or ARBITER_CONFIG.")
            else:
                self._take(given)

    def _implicit(self) -> str:
        if os.path.exists(join(self._cwd, file.IMPLICIT)):
            return file.IMPLICIT
        if os.path.exists(join(self._cwd, file.GUNICORN)):
            self._notices.append(
                f"./{file.GUNICORN} is not read: it was not named. To use it, add -c {file.GUNICORN}."
            )
        return ""

    def _take_defaults(self) -> None:
        for setting in TABLE.values():
            self._take(Given(setting.name, setting.default, "default", Level.DEFAULT))
        port = self._environ.get("PORT", "")
        if port and len(self._given["bind"]) == 1:
            self._given["bind"] = [Given("bind", f"0.0.0.0:{port}", "environment PORT", Level.DEFAULT)]

    def _take(self, given: Given) -> None:
        setting = BY_NAME.get(given.name)
        if setting is not None:
            self._given[setting.name].append(given)
            return
        foreign = FOREIGN[given.name]
        if given.value is None or given.value == foreign.default:
            return
        if foreign.harmless:
            self._notices.append(f"{given.name} ({given.origin}) has no effect: {foreign.note}")
        else:
            self._fault(given, "arbiter has no such setting", foreign.note)

    def _fault(self, given: Given, problem: str, remedy: str) -> None:
        setting = BY_NAME.get(given.name)
        value = setting.kind.quote(given.value) if setting else repr(given.value)
        self._faults.append(Fault(given.name, value, given.origin, problem, remedy))

    # -- the values

    def _read(self, name: str) -> None:
        """Read all that was given for a setting; the result has the weakest first."""
        setting = TABLE[name]
        for given in sorted(self._given[name], key=lambda given: given.level):
            try:
                self._values[name].append((given, setting.read(given.value)))
            except Unreadable as error:
                self._fault(given, error.problem, error.remedy)
                self._bad.add(name)
        in_file = [(given, value) for given, value in self._values[name] if given.level is Level.FILE]
        for (first, one), (second, other) in itertools.pairwise(in_file):
            if one != other:
                self._fault(second, f"is {first.name} ({first.origin}) by another name", "Keep one of them.")
                self._bad.add(name)

    def _entries(self) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for name, setting in TABLE.items():
            readable = self._values[name]
            if not readable:  # only a default made of PORT can be missing
                readable = [
                    (Given(name, setting.default, "default", Level.DEFAULT), setting.read(setting.default))
                ]
            given, value = readable[-1]
            if name == "raw_env":
                value = {key: text for _, some in readable for key, text in some.items()}
            entries[name] = Entry(setting, value, given.origin, given.value)
        return derive(entries, self._cwd)

    # -- the workers' environment

    def _variables(self, entries: Mapping[str, Entry]) -> tuple[Variable, ...]:
        """The variables to set, each from the strongest source that has it.

        `env_file` yields to the environment. `raw_env` overrides it, but for DJANGO_SETTINGS_MODULE, which a
        file only sets when the environment does not.
        """
        found: dict[str, Variable] = {}
        path = entries["env_file"].value
        if path is not None:
            lines, faults = env_file.read(path, entries["env_file"].origin)
            self._faults += faults
            for name, (value, line) in lines.items():
                if name not in self._environ:
                    found[name] = Variable(name, value, f"{path}:{line}")
        django: tuple[Level, Variable] | None = None
        for given, some in self._values["raw_env"]:
            for name, value in some.items():
                variable = Variable(name, value, given.origin)
                if name == DJANGO:
                    django = (given.level, variable)
                else:
                    found[name] = variable
        chosen = self._django_settings(django)
        if chosen is not None:
            found[DJANGO] = chosen
        return tuple(found.values())

    def _django_settings(self, raw: tuple[Level, Variable] | None) -> Variable | None:
        """The winner of `raw_env` and `django_settings`, None if the environment's own is stronger."""
        given, value = (
            self._values["django_settings"][-1] if self._values["django_settings"] else (None, None)
        )
        best = raw
        if given is not None and value is not None:
            setting = (given.level, Variable(DJANGO, value, given.origin))
            if raw is not None and raw[0] is given.level and raw[1].value != value:
                self._fault(
                    given, f"raw_env ({raw[1].origin}) has {DJANGO}={raw[1].value}", "Keep one of the two."
                )
            if raw is None or given.level > raw[0]:
                best = setting
        if best is None or (best[0] is Level.FILE and self._environ.get(DJANGO)):
            return None
        return best[1]


def derive(entries: Mapping[str, Entry], cwd: str) -> dict[str, Entry]:
    """The entries with what takes the place of unset values, and with relative paths made absolute."""
    chdir = entries["chdir"].value
    base = cwd if chdir is None else join(cwd, chdir)
    derived = {
        "chdir": base,
        "wsgi_app": "",
        "user": os.geteuid(),
        "group": os.getegid(),
        "proc_name": entries["wsgi_app"].value or "arbiter",
    }
    result: dict[str, Entry] = {}
    for name, entry in entries.items():
        if entry.value is None or name == "chdir":
            value = derived.get(name)
        else:
            value = entry.setting.kind.resolve(entry.value, base)
        result[name] = Entry(entry.setting, value, entry.origin, entry.written)
    if result["workers_max"].value and result["workers"].origin == "default":
        result["workers"] = replace(result["workers"], value=result["workers_min"].value)
    return result


def _flag(name: str) -> str:
    if name in BY_NAME:
        return BY_NAME[name].flag
    return FOREIGN[name].flags[-1]
