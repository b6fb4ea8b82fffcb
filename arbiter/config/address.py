"""An address to listen on, as a record, and its reader.

Neighbours: `kinds.Bind` reads settings with it, `supervisor.listeners` opens what it says. Its one rule: two
ways of writing one address give equal records, for a reload keeps the socket of an address that stays.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from dataclasses import dataclass, replace
from typing import Final, Literal

from arbiter.config.unreadable import Unreadable

DEFAULT_PORT: Final = 8000
"""The port of an address that names none (as in gunicorn)."""

_LONGEST_UNIX_PATH: Final = 107 if sys.platform == "linux" else 103
"""sizeof(sockaddr_un.sun_path) less its NUL; unix(7)."""

_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
_FORMS: Final = "Write HOST:PORT, :PORT, [v6]:PORT, unix:PATH or fd://N."


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.

    kind "tcp": `host` (a name, or an IPv4 or IPv6 address without brackets) and `port` (0: any free one);
    kind "unix": `path`, which begins with NUL for a socket of Linux's abstract namespace;
    kind "fd": `fd`, an open descriptor inherited from whoever started arbiter.
    """

    kind: Literal["tcp", "unix", "fd"]
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1

    @classmethod
    def inherited(cls, fd: int) -> Address:
        """The address of an inherited descriptor."""
        return cls("fd", fd=fd)

    @property
    def abstract(self) -> bool:
        """Whether it is a unix socket without a file."""
        return self.path.startswith("\0")

    def under(self, base: str) -> Address:
        """The same with a relative unix path made absolute against `base`."""
        if self.kind != "unix" or self.abstract or os.path.isabs(self.path):
            return self
        return replace(self, path=os.path.join(base, self.path))

    def __str__(self) -> str:
        """As one writes it: `127.0.0.1:8000`, `[::1]:8000`, `unix:/run/app.sock`, `unix:@app`, `fd://3`."""
        if self.kind == "fd":
            return f"fd://{self.fd}"
        if self.kind == "unix":
            return f"unix:@{self.path[1:]}" if self.abstract else f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read an address in gunicorn's notation; `:PORT` is every IPv4 address. Raises `Unreadable`."""
    text = text.strip()
    if not text:
        raise Unreadable("is empty", _FORMS)
    lower = text.lower()
    if lower.startswith("unix:"):
        return _parse_unix(text[5:])
    if lower.startswith("fd://"):
        if not re.fullmatch(r"[0-9]{1,6}", text[5:]):
            raise Unreadable("does not name a descriptor", "Write a number, as in fd://3.")
        return Address.inherited(int(text[5:]))
    if lower.startswith(("http://", "https://")):
        raise Unreadable("is a URL, not an address", "Leave the scheme out: HOST:PORT.")
    return _parse_tcp(text[6:] if lower.startswith("tcp://") else text)


def _parse_unix(path: str) -> Address:
    if path.startswith("//"):
        path = path[2:]
    if path.startswith("@"):
        if sys.platform != "linux":
            raise Unreadable("is a socket of Linux's abstract namespace", "Write unix:PATH.")
        path = "\0" + path[1:]
    if path in ("", "\0"):
        raise Unreadable("has no path", "Write it after unix:, as in unix:/run/app.sock.")
    if "\0" in path[1:]:
        raise Unreadable("holds a NUL character", _FORMS)
    if len(os.fsencode(path)) > _LONGEST_UNIX_PATH:
        raise Unreadable(
            f"is longer than the {_LONGEST_UNIX_PATH} bytes a unix socket can have", "Choose a shorter path."
        )
    return Address("unix", path=path)


def _parse_tcp(text: str) -> Address:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise Unreadable("is not an address", _FORMS)
        return Address("tcp", host=_ipv6(host), port=_port(rest[1:] if rest else None))
    if text.count(":") > 1:
        raise Unreadable("has more than one colon", "Put an IPv6 address in brackets, as in [::1]:8000.")
    host, colon, port = text.partition(":")
    if host == "":
        host = "0.0.0.0"
    elif re.fullmatch(r"[0-9.]+", host):
        if not colon and host.isdigit():
            raise Unreadable("is a number, not an address", f"Write :{host} for a port.")
        host = _ipv4(host)
    elif not _HOST.fullmatch(host) or len(host) > 253:
        raise Unreadable("does not begin with a host name or an address", _FORMS)
    else:
        host = host.lower()
    return Address("tcp", host=host, port=_port(port if colon else None))


def _ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise Unreadable("is not an IPv4 address", "Write four numbers, as in 127.0.0.1:8000.") from None


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise Unreadable("has no IPv6 address in its brackets", "Write it as in [::1]:8000.") from None


def _port(text: str | None) -> int:
    if text is None:
        return DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise Unreadable(f"has {text!r} for a port", "A port is a number from 0 to 65535; 0 is any free one.")
    return int(text)
