"""The configuration in force, frozen.

Neighbours: `sources.Loader` makes one, everything above reads it; `attributes` (generated) knows the types.
Its one rule: a `Config` never changes. A reload makes another, and `diff` says what is new in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NoReturn

from arbiter.config.attributes import Attributes
from arbiter.config.hook import Trimmed
from arbiter.config.setting import Effect, Setting
from arbiter.config.table import HOOKS, TABLE


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable for the workers, and where it came from."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A setting with its value.

    origin: "conf.py:12", "--workers", "environment WEB_CONCURRENCY", "default". written: what the operator
    wrote, before it was read.
    """

    setting: Setting
    value: Any
    origin: str
    written: object

    def show(self) -> str:
        """The value as text for a configuration file, without secrets."""
        return self.setting.show(self.value)


class Config(Attributes):
    """Every setting as an attribute, by its name and its aliases; see `table`.

    notices: sentences for the log: what was accepted though it has no effect, or looks like a mistake.
    variables: what `environment()` is made of, with origins.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        variables: tuple[Variable, ...] = (),
        notices: tuple[str, ...] = (),
    ) -> None:
        values = {alias: entry.value for entry in entries.values() for alias in entry.setting.names}
        self.__dict__.update(values, _entries=dict(entries), variables=variables, notices=notices)

    variables: tuple[Variable, ...]
    notices: tuple[str, ...]
    _entries: dict[str, Entry]

    def origin(self, name: str) -> str:
        """Where the value of the setting came from. Raises KeyError for a name that is no setting."""
        return self._entries[name].origin

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Names and entries, in the order of the table."""
        return iter(self._entries.items())

    def variable_origin(self, name: str) -> str:
        """Where the workers' environment variable came from; "" if it is none of arbiter's."""
        return next((variable.origin for variable in self.variables if variable.name == name), "")

    def environment(self) -> dict[str, str]:
        """What must be set in a worker's `os.environ`, over the environment that arbiter was started in."""
        return {variable.name: variable.value for variable in self.variables}

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a configuration is frozen; {name} is set in a file, the environment or a flag")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a configuration is frozen; {name} cannot be removed")

    def __repr__(self) -> str:
        given = [f"{name}={entry.show()}" for name, entry in self.items() if entry.origin != "default"]
        return f"Config({', '.join(given)})"


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that a reload changes, and what must be done for it."""

    name: str
    old: Any
    new: Any
    effect: Effect

    def __str__(self) -> str:
        show = TABLE[self.name].show
        return f"{self.name}: {show(self.old)} -> {show(self.new)}"


def diff(old: Config, new: Config) -> list[Change]:
    """The settings whose values differ, in the order of the table.

    Hooks are compared by their code: a file that is executed again makes new functions of it.
    """
    changes = []
    for name, setting in TABLE.items():
        before, after = getattr(old, name), getattr(new, name)
        same = _same_hook(before, after) if name in HOOKS else before == after
        if not same:
            changes.append(Change(name, before, after, setting.effect))
    return changes


def _same_hook(old: object, new: object) -> bool:
    if isinstance(old, Trimmed) and isinstance(new, Trimmed):
        return _same_hook(old.function, new.function)
    if isinstance(old, FunctionType) and isinstance(new, FunctionType):
        return (
            old.__code__ == new.__code__
            and old.__defaults__ == new.__defaults__
            and [cell.cell_contents for cell in old.__closure__ or ()]
            == [cell.cell_contents for cell in new.__closure__ or ()]
        )
    return old == new
