"""The kinds that speak of the network: addresses, peers, fields of HTTP.

Neighbours: see `kinds`. Its one rule: nothing is looked up, so reading a configuration never waits for a name
server.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from arbiter.config.address import Address, parse_address
from arbiter.config.kinds import Dictionary, Kind, Text
from arbiter.config.unreadable import Unreadable


class Bind(Kind[Address]):
    """An address to listen on; see `address.parse_address`."""

    noun = "an address"
    metavar = "ADDRESS"
    example = "HOST:PORT, :PORT, [v6]:PORT, unix:PATH or fd://N"
    annotation = "Address"

    def read(self, value: object) -> Address:
        if isinstance(value, Address):
            return value
        if not isinstance(value, str):
            raise self.wrong()
        return parse_address(value)

    def show(self, value: Address) -> str:
        return repr(str(value))

    def resolve(self, value: Address, base: str) -> Address:
        return value.under(base)


class Network(Kind[str]):
    """Peers to trust: an address, a network in CIDR notation, "*" for all, "unix" for unix sockets."""

    noun = "an address or network"
    metavar = "NETWORK"
    example = 'addresses such as 10.0.0.1, networks such as 10.0.0.0/8, "unix", or "*" for all'
    annotation = "str"

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.wrong()
        text = value.strip()
        if text in ("*", "unix"):
            return text
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            if "host bits" in str(error):
                wider = ipaddress.ip_network(text, strict=False)
                raise Unreadable("is an address with the mask of a network", f"Write {wider}.") from None
            raise self.wrong() from None
        return text if "/" in text else str(network.network_address)


class FieldName(Kind[str]):
    """A name of the WSGI environ or of an HTTP field that a trusted proxy may set; read in capitals."""

    noun = "the name of a field"
    metavar = "NAME"
    example = "names such as SCRIPT_NAME"
    annotation = "str"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+|\*", value.strip()):
            raise self.wrong()
        return value.strip().upper()


class FieldValue(Text):
    """Text that can be the value of an HTTP field (RFC 9110 section 5.5): visible ASCII and blanks."""

    def read(self, value: object) -> str:
        text = super().read(value).strip()
        if not text.isascii():
            raise Unreadable("cannot stand in an HTTP field", "Use ASCII letters only.")
        return text


class RootPath(Text):
    """A URL path without its last slash: "" or "/shop"."""

    metavar = "PATH"

    def read(self, value: object) -> str:
        text = super().read(value).rstrip("/")
        if text and not text.startswith("/"):
            raise Unreadable("does not begin with a slash", f'Write "/{text}".')
        if "?" in text or "#" in text:
            raise Unreadable("is not a path", 'Write a path such as "/shop".')
        return text


class SchemeHeaders(Dictionary):
    """The fields by which a proxy says that the client's connection was https, and their values."""

    noun = "a dict of field names and values"
    example = 'a dict such as {"X-FORWARDED-PROTO": "https"}'
    annotation = "dict[str, str]"

    def read(self, value: object) -> dict[str, Any]:
        read = super().read(value)
        name = FieldName()
        for key, content in read.items():
            if not isinstance(content, str):
                raise self.wrong(f"has {content!r} in it, which is not a text")
            name.read(key)
        return {key.upper(): content for key, content in read.items()}
