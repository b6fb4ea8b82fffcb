"""The kind of the settings that are functions: gunicorn's server hooks.

Neighbours: `sections.hooks` declares the hooks, `arbiter.hooks` calls them. Its one rule: a hook that is
accepted can be called with all of its arguments, in the order of the declaration.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from arbiter.config.kinds import Kind
from arbiter.config.unreadable import Unreadable


class Trimmed:
    """A hook that takes fewer arguments than arbiter passes; gunicorn allows that for some."""

    __slots__ = ("count", "function")

    def __init__(self, function: Callable[..., Any], count: int) -> None:
        self.function = function
        self.count = count

    def __call__(self, *args: Any) -> Any:
        return self.function(*args[: self.count])


class Hook(Kind[Callable[..., Any]]):
    """A function of the given arguments; the last ones may be missing down to `fewest`."""

    noun = "a function"
    annotation = "Callable[..., Any]"
    textual = False

    def __init__(self, *arguments: str, fewest: int | None = None) -> None:
        self.arguments = arguments
        self.fewest = len(arguments) if fewest is None else fewest

    def signature(self, name: str) -> str:
        """As one would define it: `def post_fork(server, worker):`."""
        return f"def {name}({', '.join(self.arguments)}):"

    def read(self, value: object) -> Callable[..., Any]:
        wanted = f"({', '.join(self.arguments)})"
        if not callable(value) or isinstance(value, type):
            raise Unreadable("is not a function", f"Define a function with the arguments {wanted}.")
        if inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value):
            raise Unreadable("is async, and no loop runs where hooks do", "Define it with plain def.")
        try:
            signature = inspect.signature(value)
        except (ValueError, TypeError):  # built in: it has none to look at
            return value
        for count in range(len(self.arguments), self.fewest - 1, -1):
            try:
                signature.bind(*self.arguments[:count])
            except TypeError:
                continue
            return value if count == len(self.arguments) else Trimmed(value, count)
        raise Unreadable(f"cannot be called with {wanted}", f"Define it with the arguments {wanted}.")

    def show(self, value: Callable[..., Any]) -> str:
        function = value.function if isinstance(value, Trimmed) else value
        return f"<function {getattr(function, '__qualname__', type(function).__name__)}>"

    def quote(self, value: object) -> str:
        if callable(value) and not isinstance(value, type):
            return self.show(value)
        return super().quote(value)
