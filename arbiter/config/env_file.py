"""A file of environment variables, as systemd's EnvironmentFile= and dotenv have it.

Neighbours: `sources.Loader` reads the setting `env_file` with it. Its one rule: a line that is not understood
is a fault with its number; none is skipped.

Understood: `NAME=value`, blank lines, `#` comments, `export` before a name, single quotes (all is literal),
double quotes (backslash before `"`, `\\`, `$` and for n, r, t), values over several lines within quotes,
and a comment after a value when a blank is before it. Nothing is expanded.
"""

from __future__ import annotations

import re
from typing import Final

from arbiter.errors import Fault

_LARGEST: Final = 1 << 20
_NAME: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*")
_SINGLE: Final = re.compile(r"'([^']*)'")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_REST: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_BLANK: Final = re.compile(r"[ \t]*(?:#[^\n]*)?\n?")
_PLAIN: Final = re.compile(r"[^\n]*")
_COMMENT: Final = re.compile(r"(?:^|[ \t])#.*")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def read(path: str, origin: str) -> tuple[dict[str, tuple[str, int]], list[Fault]]:
    """The variables with the lines they are on, and what is wrong with the file.

    origin: where the setting `env_file` came from.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return {}, [
            Fault("env_file", repr(path), origin, f"cannot be read: {reason}", "Name a readable text file.")
        ]
    if len(text) > _LARGEST:
        return {}, [
            Fault("env_file", repr(path), origin, "is larger than a megabyte", "Name the right file.")
        ]
    return parse(text.replace("\r\n", "\n"), path)


def parse(text: str, path: str) -> tuple[dict[str, tuple[str, int]], list[Fault]]:
    """Parse the text of such a file; `path` is for the faults, which never quote a value: it may be a
    secret.
    """
    found: dict[str, tuple[str, int]] = {}
    faults: list[Fault] = []
    at = 0
    while at < len(text):
        blank = _BLANK.match(text, at)
        line_end = text.find("\n", at) + 1 or len(text)
        if blank and blank.end() == line_end:
            at = line_end
            continue
        line = text.count("\n", 0, at) + 1
        name = _NAME.match(text, at, line_end)
        if name is None:
            faults.append(_fault(path, line, "is not NAME=value", "Write it so, or begin the line with #."))
            at = line_end
            continue
        value, at = _value(text, name.end())
        if value is None:
            faults.append(_fault(path, line, f"{name[1]} has a quote that is not closed", "Close it."))
        elif "\0" in value:
            faults.append(_fault(path, line, f"{name[1]} holds a NUL character", "Remove it."))
        else:
            found[name[1]] = (value, line)
    return found, faults


def _value(text: str, at: int) -> tuple[str | None, int]:
    """The value that begins at `at`, None if it is malformed, and where the next line begins."""
    line_end = text.find("\n", at) + 1 or len(text)
    if text[at : at + 1] in ("'", '"'):
        quoted = (_SINGLE if text[at] == "'" else _DOUBLE).match(text, at)
        rest = quoted and _REST.match(text, quoted.end())
        if not quoted or not rest:
            return None, line_end
        value = quoted[1]
        if text[at] == '"':
            value = re.sub(r"\\(.)", _unescape, value, flags=re.DOTALL)
        return value, rest.end()
    plain = _PLAIN.match(text, at)
    return _COMMENT.sub("", plain[0] if plain else "").strip(), line_end


def _unescape(found: re.Match[str]) -> str:
    letter = found[1]
    if letter in '"\\$`':
        return letter
    return _ESCAPES.get(letter, found[0])


def _fault(path: str, line: int, problem: str, remedy: str) -> Fault:
    return Fault("env_file", "", f"{path}:{line}", problem, remedy)
