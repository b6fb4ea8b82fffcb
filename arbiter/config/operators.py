"""The kinds that speak of operators and their tools: who may use the control socket, where statsd listens.

Neighbours: see `kinds`. Its one rule: users and groups must exist here and now, as in `system`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from arbiter.config.address import DEFAULT_PORT, Address, parse_address
from arbiter.config.kinds import Kind
from arbiter.config.system import Group, Umask, User

STATSD_PORT = 8125
"""The port of statsd when none is named."""


class Principal(Kind[str]):
    """A user or, after "@", a group, by name or number; read as "1000" or "@1000"."""

    noun = "a user or @group"
    metavar = "USER|@GROUP"
    example = 'users such as "deploy" and groups such as "@ops"'
    annotation = "str"

    def read(self, value: object) -> str:
        if isinstance(value, str) and value.strip().startswith("@"):
            return f"@{Group().read(value.strip()[1:])}"
        return str(User().read(value))

    def show(self, value: str) -> str:
        if value.startswith("@"):
            return repr(f"@{Group().show(int(value[1:])).strip(chr(39))}")
        return User().show(int(value))


class Mode(Umask):
    """The permissions of a file: 0o600; text is octal with or without its prefix."""

    noun = "a file mode"
    example = "octal digits such as 0o600"


class Statsd(Kind[Address]):
    """Where statsd listens: HOST:PORT (UDP) or unix://PATH (datagrams)."""

    noun = "the address of a statsd"
    metavar = "HOST:PORT|unix://PATH"
    example = "HOST:PORT or unix://PATH"
    annotation = "Address"

    def read(self, value: object) -> Address:
        if isinstance(value, Address):
            return value
        if not isinstance(value, str):
            raise self.wrong()
        address = parse_address(value)
        if address.kind == "fd":
            raise self.wrong("cannot be an open descriptor")
        names_port = re.search(r":[0-9]+$", value.strip()) is not None
        if address.kind == "tcp" and address.port == DEFAULT_PORT and not names_port:
            return replace(address, port=STATSD_PORT)
        return address

    def show(self, value: Address) -> str:
        return repr(str(value))

    def resolve(self, value: Address, base: str) -> Address:
        return value.under(base)
