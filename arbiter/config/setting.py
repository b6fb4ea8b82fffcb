"""What one declaration of a setting says.

Neighbours: `sections/*` make these records, `table` collects them, everything else in `config` reads them.
Its one rule: whatever is true of a setting is said in its declaration and nowhere else; flags, environment
names, documentation, reload behaviour and checks of a single value all follow from it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from arbiter.config.kinds import Kind, Unreadable


class Effect(enum.Enum):
    """What a reload must do for a changed value to be in force."""

    NOTHING = "nothing"
    """The value is used at the start of the command only."""
    IN_PLACE = "in_place"
    """The arbiter itself goes on with the new value."""
    WORKERS = "workers"
    """New workers have it; those of the old generation are replaced."""
    REBIND = "rebind"
    """Listeners are opened or closed."""
    UPGRADE = "upgrade"
    """Only an upgrade in place or a restart can change it; a reload says so and keeps the old value."""
    RESTART = "restart"
    """Only a restart can change it; a reload says so."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    name: as in the configuration file and on `Config`; gunicorn's name where gunicorn has the setting.
    kind: how a value is read and shown.
    default: as one would write it in a file; None where the setting may be unset.
    text: one paragraph for the reference page and the help of the command.
    flags: of the command line, the usual one last; none when it can only be set in a file.
    effect: what a reload must do for it.
    aliases: other names for the file, for the environment and on `Config`.
    variables: variables of other servers' making (WEB_CONCURRENCY) that set it too, below ARBITER_<NAME>.
    least, most: bounds of a number, inclusive; zero: whether 0 ("off") is allowed below `least`.
    unset: what it means, in words, that the setting is unset.
    derived: what takes the place of an unset value, in words; `sources` fills it in, `Config` never has None.
    in_file: whether a configuration file may set it.
    """

    name: str
    kind: Kind[Any]
    default: object
    text: str
    flags: tuple[str, ...] = ()
    effect: Effect = Effect.WORKERS
    aliases: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    zero: bool = False
    unset: str = ""
    derived: str = ""
    in_file: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)

    @property
    def environment(self) -> tuple[str, ...]:
        """The environment variables that set it, the strongest first; none for what only code can express."""
        if not self.kind.textual:
            return ()
        return (*(f"ARBITER_{name.upper()}" for name in self.names), *self.variables)

    @property
    def flag(self) -> str:
        """The usual flag, as messages name it; "" when there is none."""
        return self.flags[-1] if self.flags else ""

    @property
    def optional(self) -> bool:
        """Whether the setting may be unset."""
        return self.default is None

    def read(self, value: object) -> Any:
        """The value of a setting as the rest of arbiter uses it. Raises `Unreadable`."""
        if self.optional and (value is None or value == ""):
            return None
        if value is None:
            raise Unreadable("cannot be unset", f"Leave the line out to have the default, {self.default!r}.")
        result = self.kind.read(value)
        self._check_bounds(result)
        return result

    def show(self, value: Any) -> str:
        """A value that was read, as text to put in a configuration file."""
        return "None" if value is None else self.kind.show(value)

    @property
    def annotation(self) -> str:
        """The type of the value on `Config`."""
        stays_unset = self.optional and not self.derived
        return f"{self.kind.annotation} | None" if stays_unset else self.kind.annotation

    def _check_bounds(self, value: Any) -> None:
        if self.least is None and self.most is None:
            return
        if self.zero and value == 0:
            return
        too_low = self.least is not None and value < self.least
        too_high = self.most is not None and value > self.most
        if too_low or too_high:
            raise Unreadable(f"is {'below' if too_low else 'above'} what is allowed", f"Write {self.bounds}.")

    @property
    def bounds(self) -> str:
        """The bounds in words: "a number from 1 to 64, or 0"; "" when there are none."""
        if self.least is None and self.most is None:
            return ""
        noun = self.kind.noun
        if self.most is None:
            text = f"{noun} of at least {self.kind.show(self.least)}"
        elif self.least is None:
            text = f"{noun} of at most {self.kind.show(self.most)}"
        else:
            text = f"{noun} from {self.kind.show(self.least)} to {self.kind.show(self.most)}"
        return f"{text}, or 0" if self.zero else text
