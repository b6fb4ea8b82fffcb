r"""Making foreign text fit to stand in a log: it can neither end a line nor leave its quotes.

Neighbours: `access` and `atoms` put peers' text into lines through the memos here, `formats` its records.
Its one rule: what comes out is printable ASCII, and what it was can be told from it.

Sources: Apache's mod_log_config since 2.0.46 (\xhh, so that a terminal showing the log cannot be driven by
it either); RFC 8259 section 7.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from typing import Any, Final

ENTRIES: Final = 1024
LONGEST: Final = 256
"""Of a memo: the entries, and the length of a text that is worth one."""

_unsafe = re.compile(r"[^ !#-\[\]-~]").search
_NAMED = {'"': '\\"', "\\": "\\\\", "\r": "\\r", "\n": "\\n", "\t": "\\t"}


def quotable(value: object) -> str:
    r"""Text that can stand between quotes: printable ASCII, with " and \ escaped; "" for None.

    Other characters become \xhh, \uhhhh or \Uhhhhhhhh; bytes are taken as latin-1.
    """
    if value is None:
        return ""
    text = value if type(value) is str else as_text(value)
    if _unsafe(text) is None:
        return text
    return text.translate(_ESCAPES)


class _Escapes(dict[int, str]):
    """A table for `str.translate`, whole for latin-1."""

    def __missing__(self, code: int) -> str:
        return f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


_ESCAPES: Final = _Escapes({code: f"\\x{code:02x}" for code in range(256)})
_ESCAPES.update((code, chr(code)) for code in range(ord(" "), ord("~") + 1))
_ESCAPES.update((ord(char), escape) for char, escape in _NAMED.items())


def or_dash(value: object) -> str:
    """As `quotable`, "-" for nothing."""
    return quotable(value) or "-"


def json_text(value: object) -> str:
    """A JSON string in ASCII, its quotes included; null for nothing. Bytes are taken as UTF-8."""
    if not value:
        return "null"
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return encode_basestring_ascii(str(value))


def json_member(name: str) -> Callable[[object], str]:
    """A function that makes `,"name":"value"` of a value, and nothing of nothing."""

    def member(value: object) -> str:
        return f',"{name}":{json_text(value)}' if value else ""

    return member


def as_text(value: object) -> str:
    """A str of whatever it is; bytes as latin-1, in which HTTP's are."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


_CONTROL: Final = {
    code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\n\t"
} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


def printable(text: str) -> str:
    """Text for people to read on a terminal: control characters but newline and tab made visible."""
    return text if text.isprintable() else text.translate(_CONTROL)


class Memo(dict[Any, str]):
    """What `make` makes of a value, remembered: most requests are like one before.

    Bounded, so that no peer can make it grow: it starts anew when it is full, and long texts are not kept. A
    memory of two generations (`protocols.memo`) would take 0.2 us longer for a target that never comes again,
    as most do.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[object], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, value: Any) -> str:
        made = self._make(value)
        if len(made) <= LONGEST:
            if len(self) >= ENTRIES:
                self.clear()
            self[value] = made
        return made
