"""The readers of values: from what an operator wrote, in a file or as text, to what arbiter works with.

Neighbours: this module has the general kinds; `quantities`, `network`, `system` and `hook` have the others;
`setting` holds one kind per setting. Its one rule: a reader either returns a value that can be used as it is,
or raises `Unreadable` with what is wrong and what to write instead; it never guesses and has no effect.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, Generic, TypeVar

from arbiter.config.address import Address
from arbiter.config.unreadable import Unreadable

__all__ = ["Address", "Kind", "Unreadable"]

T = TypeVar("T")


class Kind(Generic[T]):
    """How values of a setting are read and shown. Immutable; one instance may serve many settings."""

    noun: str = "a value"
    """As in "is not a number"."""
    metavar: str = "VALUE"
    example: str = ""
    """As in "Write ..."."""
    annotation: str = "Any"
    """The type of what `read` returns, in Python's notation."""
    textual: ClassVar[bool] = True
    """Whether a value can be given as text, that is by flag or environment variable."""
    many: ClassVar[bool] = False
    """Whether the flag may be repeated."""
    switch: ClassVar[bool] = False
    """Whether the flag stands alone and has a twin that begins with --no-."""

    def read(self, value: object) -> T:
        """The value to use. Raises `Unreadable`."""
        raise NotImplementedError

    def show(self, value: T) -> str:
        """The value as Python source for a configuration file, short and without secrets."""
        return repr(value)

    def quote(self, value: object) -> str:
        """A value that could not be read, as a message shows it; "" when it might be a secret."""
        text = repr(value)
        return text if len(text) <= 80 else f"{text[:76]} ..."

    def resolve(self, value: T, base: str) -> T:
        """The value with relative paths made absolute against the directory `base`."""
        return value

    def wrong(self, problem: str = "") -> Unreadable:
        """The exception for a value that is not of this kind."""
        return Unreadable(problem or f"is not {self.noun}", f"Write {self.example}." if self.example else "")


class Text(Kind[str]):
    """Any text on one line."""

    noun = "a text"
    metavar = "TEXT"
    annotation = "str"

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise Unreadable("is not a text", "Put it in quotes.")
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
            raise Unreadable("holds a control character", "Write printable characters only.")
        return value


class Name(Text):
    """A dotted Python name."""

    noun = "a dotted Python name"
    metavar = "MODULE"
    example = 'a module such as "myproject.settings"'

    def read(self, value: object) -> str:
        text = super().read(value).strip()
        if not all(part.isidentifier() for part in text.split(".")):
            raise self.wrong()
        return text


class App(Text):
    """An application: `module`, `module:attribute`, `module:factory(...)`."""

    noun = "an application"
    metavar = "APP"
    example = 'it as "module:attribute", such as "myproject.asgi:application"'

    def read(self, value: object) -> str:
        text = super().read(value).strip()
        module = text.partition(":")[0]
        if module.endswith(".py") or "/" in module:
            dotted = module.removeprefix("./").removesuffix(".py").strip("/").replace("/", ".")
            raise Unreadable("is a file, not a module", f'Write "{dotted}:application".')
        if not all(part.isidentifier() for part in module.split(".")):
            raise self.wrong("does not begin with the name of a module")
        return text


_YES: Final = frozenset({"yes", "true", "on", "1"})
_NO: Final = frozenset({"no", "false", "off", "0"})


class YesNo(Kind[bool]):
    """True or False; as text yes/no, on/off, true/false, 1/0."""

    switch = True
    noun = "yes or no"
    metavar = ""
    example = "True or False in the file; yes or no in the environment"
    annotation = "bool"

    def read(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, int) and value in (0, 1):
            return value == 1
        if isinstance(value, str):
            word = value.strip().lower()
            if word in _YES:
                return True
            if word in _NO:
                return False
        raise self.wrong()


class Choice(Kind[str]):
    """One of a few words.

    meanings: other spellings and what they stand for, lower-case; a value False, True or a class may be
    written for its word. refused: spellings that get a message of their own.
    """

    annotation = "str"

    def __init__(
        self,
        *words: str,
        meanings: Mapping[str, str] = MappingProxyType({}),
        refused: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.words = words
        self.meanings = meanings
        self.refused = refused
        self.metavar = "|".join(words)
        self.noun = self.example = f"one of {', '.join(words)}"

    def read(self, value: object) -> str:
        if isinstance(value, type):
            value = f"{value.__module__}.{value.__qualname__}"
        if not isinstance(value, str | bool):
            raise self.wrong()
        word = str(value).strip().lower()
        word = self.meanings.get(word, word)
        if word in self.words:
            return word
        if word in self.refused:
            raise Unreadable("is not available", self.refused[word])
        raise self.wrong()


class Listing(Kind[tuple[T, ...]]):
    """Several values: a list in the file, commas in text, a repeated flag on the command line."""

    many = True

    def __init__(self, item: Kind[T], *, empty: bool = False) -> None:
        self.item = item
        self.empty = empty
        self.annotation = f"tuple[{item.annotation}, ...]"
        self.metavar = item.metavar
        self.noun = f"a list of which each is {item.noun}"
        self.example = item.example

    def read(self, value: object) -> tuple[T, ...]:
        if isinstance(value, Mapping) or not isinstance(value, Iterable) or isinstance(value, str):
            parts: list[object] = [value]
        else:
            parts = sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
        items: list[T] = []
        for part in parts:
            words = [word.strip() for word in part.split(",")] if isinstance(part, str) else [part]
            for word in words:
                if word == "":
                    continue
                items.append(self._read_item(word, alone=len(parts) == len(words) == 1))
        if not items and not self.empty:
            raise self.wrong("is empty")
        return tuple(items)

    def _read_item(self, word: object, *, alone: bool) -> T:
        try:
            return self.item.read(word)
        except Unreadable as error:
            if alone:
                raise
            raise Unreadable(f"has {word!r} in it, which {error.problem}", error.remedy) from None

    def show(self, value: tuple[T, ...]) -> str:
        return f"[{', '.join(self.item.show(item) for item in value)}]"

    def resolve(self, value: tuple[T, ...], base: str) -> tuple[T, ...]:
        return tuple(self.item.resolve(item, base) for item in value)


class Dictionary(Kind[dict[str, Any]]):
    """A Python dict with text keys; as text a JSON object."""

    noun = "a dict"
    metavar = "JSON"
    example = "a dict in the file, or a JSON object in the environment"
    annotation = "dict[str, Any]"

    def read(self, value: object) -> dict[str, Any]:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise self.wrong() from None
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise self.wrong()
        return dict(value)
