"""The kinds that speak of the machine: paths, users, modes, environment variables.

Neighbours: see `kinds`. Its one rule: users and groups must exist here and now; files need not.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from arbiter.config.kinds import Kind, Text
from arbiter.config.unreadable import Unreadable


class Path(Text):
    """A file or directory; relative ones are relative to `chdir`. "-" is left alone."""

    noun = "a path"
    metavar = "PATH"
    example = "a path in quotes"

    def read(self, value: object) -> str:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        text = super().read(value)
        if not text:
            raise self.wrong("is empty")
        return os.path.expanduser(text)

    def resolve(self, value: str, base: str) -> str:
        return value if value == "-" else join(base, value)


def join(base: str, path: str) -> str:
    """`path` under `base`, tidied only as far as symbolic links allow ("current/../x" stays)."""
    whole = os.path.join(base, path)
    return whole if ".." in whole.split(os.sep) else os.path.normpath(whole)


class User(Kind[int]):
    """A user by name or number; read as the number."""

    noun = "a user"
    metavar = "USER"
    annotation = "int"

    def read(self, value: object) -> int:
        return self._number(value, lambda name: pwd.getpwnam(name).pw_uid, "/etc/passwd")

    def show(self, value: int) -> str:
        try:
            return repr(pwd.getpwuid(value).pw_name)
        except KeyError:
            return str(value)

    def _number(self, value: object, find: Callable[[str], int], where: str) -> int:
        if isinstance(value, str) and value.strip():
            name = value.strip()
            if not re.fullmatch(r"[0-9]{1,10}", name):
                try:
                    return find(name)
                except (KeyError, ValueError):  # ValueError: NUL, or what the locale cannot encode
                    raise Unreadable(
                        f"is no {self.noun[2:]} of this machine",
                        f"Write a name that {where} has, or a number.",
                    ) from None
            value = int(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < (1 << 32) - 1:
            raise Unreadable(f"is not {self.noun}", "Write a name or a number.")
        return value


class Group(User):
    """A group by name or number; read as the number."""

    noun = "a group"
    metavar = "GROUP"

    def read(self, value: object) -> int:
        return self._number(value, lambda name: grp.getgrnam(name).gr_gid, "/etc/group")

    def show(self, value: int) -> str:
        try:
            return repr(grp.getgrgid(value).gr_name)
        except KeyError:
            return str(value)


class Umask(Kind[int]):
    """File mode bits to leave out: 0o022; text is octal with or without its prefix, as for `umask(1)`."""

    noun = "a umask"
    metavar = "OCTAL"
    annotation = "int"
    example = "octal digits such as 0o022"

    def read(self, value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"(0o)?[0-7]{1,4}", value.strip()):
            value = int(value.strip().removeprefix("0o"), 8)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o777:
            raise self.wrong()
        return value

    def show(self, value: int) -> str:
        return f"0o{value:03o}"


_SECRET: Final = re.compile(r"SECRET|PASS|TOKEN|KEY|CREDENTIAL|DSN|_URL|_URI", re.IGNORECASE)


def show_variable(name: str, value: str) -> str:
    """The value of an environment variable for people to see: nothing of it when its name says secret."""
    return "'***'" if _SECRET.search(name) else repr(value)


class Variables(Kind[Mapping[str, str]]):
    """Environment variables: "NAME=value", a list of these, or a dict. A value may hold commas."""

    noun = "NAME=value"
    metavar = "NAME=VALUE"
    example = 'entries such as "DJANGO_SETTINGS_MODULE=myproject.settings"'
    annotation = "Mapping[str, str]"
    many = True

    def read(self, value: object) -> Mapping[str, str]:
        if isinstance(value, Mapping):
            pairs = list(value.items())
        else:
            entries = value.split("\n") if isinstance(value, str) else value
            if not isinstance(entries, list | tuple | set):
                raise self.wrong()
            pairs = [self._split(entry) for entry in entries if entry != ""]
        result: dict[str, str] = {}
        for name, content in pairs:
            if not isinstance(name, str) or not isinstance(content, str | int | float) or not name.strip():
                raise self.wrong()
            if "=" in name or "\0" in f"{name}{content}":
                raise self.wrong("has a variable that no environment can hold")
            result[name.strip()] = str(content)
        return MappingProxyType(result)

    def quote(self, value: object) -> str:
        return ""

    def _split(self, entry: object) -> tuple[str, str]:
        if not isinstance(entry, str) or "=" not in entry:
            raise self.wrong(f"has {entry!r} in it, which is not {self.noun}")
        name, _, content = entry.partition("=")
        return name, content

    def show(self, value: Mapping[str, str]) -> str:
        inner = ", ".join(f"{name!r}: {show_variable(name, content)}" for name, content in value.items())
        return f"{{{inner}}}"
