"""Records to JSON and back, by their annotations.

Neighbours: `handover` writes an arbiter's state with it. Its one rule: what comes back equals what went in,
or ValueError says where it does not fit. A record may have gained fields (they get their defaults) or lost
some (they are passed over): the two sides may be of two versions.
"""

from __future__ import annotations

import binascii
import enum
import types
import typing
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, Final

HOME: Final = "stays at home"
"""In the metadata of a field: it is not written, and gets its default."""


def to_plain(value: Any) -> Any:
    """The value in what JSON knows. Raises TypeError for what has no such form."""
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes | bytearray):
        return binascii.b2a_base64(value, newline=False).decode("ascii")
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value):
            return {key: to_plain(item) for key, item in value.items()}
        return [[to_plain(key), to_plain(item)] for key, item in value.items()]
    if isinstance(value, set | frozenset):
        value = sorted(value)  # equal sets are written alike
    if isinstance(value, list | tuple | deque):
        return [to_plain(item) for item in value]
    if is_dataclass(value):
        return {
            field.name: to_plain(getattr(value, field.name))
            for field in fields(value)
            if not field.metadata.get(HOME)
        }
    raise TypeError(f"{type(value).__name__} has no plain form")


def from_plain(kind: Any, plain: Any, where: str = "state") -> Any:
    """A value of the annotated kind. Raises ValueError naming the place."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return plain
    if origin in (types.UnionType, typing.Union):
        return _one_of(inner, plain, where)
    if origin is typing.Literal:
        return _checked(plain in inner, plain, kind, where)
    if origin is not None:
        return _several(origin, inner, plain, where)
    if is_dataclass(kind):
        return _record(kind, plain, where)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        try:
            return kind(plain)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    if kind is bytes:
        try:
            return binascii.a2b_base64(_checked(isinstance(plain, str), plain, str, where), strict_mode=True)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    if kind is float:
        number = isinstance(plain, int | float) and not isinstance(plain, bool)
        return float(_checked(number, plain, kind, where))
    return _checked(type(plain) is kind, plain, kind, where)


def _checked(fits: bool, plain: Any, kind: Any, where: str) -> Any:
    if not fits:
        raise ValueError(f"{where}: {plain!r:.80} is not {getattr(kind, '__name__', kind)}")
    return plain


def _one_of(kinds: tuple[Any, ...], plain: Any, where: str) -> Any:
    if plain is None and types.NoneType in kinds:
        return None
    for kind in kinds:
        if kind is not types.NoneType:
            try:
                return from_plain(kind, plain, where)
            except ValueError as error:
                problem = error
    raise problem


def _several(origin: Any, inner: tuple[Any, ...], plain: Any, where: str) -> Any:
    if issubclass(origin, Mapping):
        result = {}
        for pair in (
            plain.items()
            if isinstance(plain, dict)
            else _checked(isinstance(plain, list), plain, dict, where)
        ):
            key, item = _checked(isinstance(pair, list | tuple) and len(pair) == 2, pair, "a pair", where)
            key = from_plain(inner[0], key, where)
            result[key] = from_plain(inner[-1] if origin is not Counter else int, item, f"{where}[{key!r}]")
        return Counter(result) if origin is Counter else result
    items = _checked(isinstance(plain, list), plain, list, where)
    if origin is tuple and inner[-1] is not ...:
        _checked(len(items) == len(inner), items, f"a tuple of {len(inner)}", where)
        return tuple(from_plain(kind, item, where) for kind, item in zip(inner, items, strict=True))
    return origin(from_plain(inner[0], item, f"{where}[{index}]") for index, item in enumerate(items))


def _record(kind: Any, plain: Any, where: str) -> Any:
    _checked(isinstance(plain, dict), plain, kind, where)
    values: dict[str, Any] = {}
    for field, annotation in _fields(kind):
        if field.name in plain and not field.metadata.get(HOME):
            values[field.name] = from_plain(annotation, plain[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}.{field.name} is missing")
    return kind(**values)


@cache
def _fields(kind: Any) -> list[tuple[Field[Any], Any]]:
    hints = typing.get_type_hints(kind)
    return [(field, hints[field.name]) for field in fields(kind)]
