"""What a trusted proxy says of the client: X-Forwarded-* and Forwarded (RFC 7239).

Neighbours: dispatchers ask `TrustedPeers` once per connection and `ForwardedPolicy` for requests that carry
such fields; gateways put the `Origin` into scope or environ. Its one rule: a field counts only as far as an
unbroken chain of trusted hops vouches for it, read from the right; what the first stranger wrote further
left is only text.

When both families are present X-Forwarded-* is read and Forwarded is not: proxies commonly write the former
and pass the latter on from the client. A believed proxy must set or remove each field it is believed for.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import AnyStr, Final, NamedTuple, TypeAlias

from arbiter.protocols.events import Field
from arbiter.protocols.fields import FORWARDING, Refusal, check_host, mark_forwarding

_Address: TypeAlias = tuple[str, int]

_LONGEST_NODE: Final = 64
_MOST_HOPS: Final = 64
_REMEMBERED: Final = 1024

_is_prefix = re.compile(rb"(?:/[A-Za-z0-9\-._~!$&'()*+,;=:@%]+)*/?").fullmatch

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_pair = re.compile(rf'({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")').match
"""forwarded-pair of RFC 7239 4."""


class TrustedPeers:
    """The peers that are believed: addresses, networks (CIDR), "*" for all; unix sockets always are.

    entries: as in `forwarded_allow_ips`. Raises ValueError for what is none of these.
    """

    __slots__ = ("_known", "_networks", "everyone")

    def __init__(self, entries: Iterable[str]) -> None:
        texts = [entry.strip() for entry in entries]
        self.everyone = "*" in texts
        self._networks = [ipaddress.ip_network(text) for text in texts if text not in ("*", "unix")]
        self._known: dict[str, bool] = {}

    def trusts(self, host: str | None) -> bool:
        """Is the peer at this IP address believed? None: the peer came by a unix socket."""
        if host is None or self.everyone:
            return True
        known = self._known.get(host)
        if known is None:
            known = self._judge(host)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[host] = known
        return known

    def _judge(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


class Origin(NamedTuple):
    """What the trusted proxies say of the client's request; None or "" where they say nothing.

    client: (address, port), port 0 when unknown. scheme: "https" or "http" ("wss", "ws" for a WebSocket).
    host: what the client named as Host. port: the port it came to. prefix: the path the proxy took off,
    without its last slash.
    """

    client: _Address | None
    scheme: str
    host: bytes | None
    port: int | None
    prefix: str


FAMILIES: Final = ("for", "proto", "host", "port", "prefix", "forwarded")
"""What a proxy may say, by the field it says it in; "proto" has the names of `secure_scheme_headers`."""
_NAMES: Final = {
    **{family: b"x-forwarded-" + family.encode() for family in ("for", "host", "port", "prefix")},
    "forwarded": b"forwarded",
}


class _Told:
    """The forwarding fields of one request, sorted."""

    __slots__ = ("addresses", "elements", "host", "port", "prefix", "schemes")

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.elements: list[str] = []
        self.schemes: list[tuple[str, str]] = []
        self.host: list[bytes] = []
        self.port: list[bytes] = []
        self.prefix: list[bytes] = []


class ForwardedPolicy:
    """Who is believed, and by which fields a proxy says "https".

    secure_scheme_headers: names (any case) to the value that means https, as in gunicorn; any other value of
    such a field means http. Names outside the X-Forwarded family are made known to `fields`, once, here.
    believed: of `FAMILIES`; the other ones are plain fields, whoever sends them.
    """

    __slots__ = ("_believed", "_schemes", "_trusted")

    def __init__(
        self,
        trusted: TrustedPeers,
        secure_scheme_headers: Mapping[str, str],
        believed: Collection[str] = FAMILIES,
    ) -> None:
        self._trusted = trusted
        self._believed = {_NAMES[family] for family in believed if family != "proto"}
        schemes = secure_scheme_headers.items() if "proto" in believed else ()
        self._schemes = {name.lower().encode("latin-1"): value.lower() for name, value in schemes}
        mark_forwarding(self._schemes)

    def resolve(self, fields: Sequence[Field], peer_host: str | None, scheme: str) -> Origin | None:
        """Who the client is; None when nothing changes.

        peer_host: the address of the direct peer, None on a unix socket. scheme: of the connection itself.
        Raises `Refusal` (400) where believed fields contradict each other or are malformed; strangers' are
        not looked at.
        """
        if not self._trusted.trusts(peer_host):
            return None
        told = self._sort(fields)
        if told is None:
            return None
        if told.elements and not (told.addresses or told.schemes or told.host or told.port or told.prefix):
            return self._from_elements(told.elements, scheme)
        client, hops = self._walk(told.addresses)
        host = _at_hop(told.host, hops)
        if host:
            check_host(host)
        return Origin(
            client,
            _like(scheme, self._secure(told.schemes, hops)),
            host or None,
            _port(_at_hop(told.port, hops), host),
            _prefix(_at_hop(told.prefix, hops)),
        )

    def _sort(self, fields: Sequence[Field]) -> _Told | None:
        told: _Told | None = None
        for field in fields:
            if field[1] != FORWARDING:
                continue
            if told is None:
                told = _Told()
            name, value = field[0]
            meaning = self._schemes.get(name)
            if meaning is not None:
                told.schemes.append((field.text.lower(), meaning))
            if name not in self._believed:
                continue
            if name == b"x-forwarded-for":
                told.addresses += field.text.split(",")
            elif name == b"forwarded":
                told.elements.append(field.text)
            elif name == b"x-forwarded-host":
                told.host += value.split(b",")
            elif name == b"x-forwarded-port":
                told.port += value.split(b",")
            elif name == b"x-forwarded-prefix":
                told.prefix += value.split(b",")
        return told

    def _walk(self, nodes: Sequence[str]) -> tuple[_Address | None, int]:
        """From the right over trusted hops to the client; also how many entries that took, at least 1."""
        client: _Address | None = None
        hops = 0
        for node in reversed(nodes[-_MOST_HOPS:]):
            address = parse_node(node)
            if address is None:
                break
            client = address
            hops += 1
            if not self._trusted.trusts(address[0]):
                break
        return client, max(hops, 1)

    def _secure(self, schemes: Sequence[tuple[str, str]], hops: int) -> bool | None:
        """What the scheme fields say, None when there are none; all must say the same."""
        secure: bool | None = None
        for text, meaning in schemes:
            value = _at_hop(text.split(","), hops)
            says = value == meaning or (value == "wss" and meaning == "https")
            if secure is not None and says != secure:
                raise Refusal(400, "contradicting scheme fields")
            secure = says
        return secure

    def _from_elements(self, values: Sequence[str], scheme: str) -> Origin:
        elements = [element for value in values for element in parse_forwarded(value)][-_MOST_HOPS:]
        client, hops = self._walk([element.get("for", "") for element in elements])
        element = elements[-min(hops, len(elements))] if elements else {}
        host = element.get("host", "").encode("latin-1") or None
        if host is not None:
            check_host(host)
        proto = element.get("proto", "").lower()
        secure = proto in ("https", "wss") if proto else None
        return Origin(client, _like(scheme, secure), host, _port(None, host), "")


def _at_hop(values: Sequence[AnyStr], hops: int) -> AnyStr | None:
    """The value that belongs to the client's hop: lists grow to the right, one entry per proxy."""
    return values[-min(hops, len(values))].strip() if values else None


def _like(scheme: str, secure: bool | None) -> str:
    if secure is None:
        return scheme
    if scheme in ("ws", "wss"):
        return "wss" if secure else "ws"
    return "https" if secure else "http"


def _port(value: bytes | None, host: bytes | None) -> int | None:
    """The port a proxy named, or the one in the host it named; None when neither."""
    if not value and host:
        value = host.rpartition(b"]")[2].rpartition(b":")[2] if b":" in host.rpartition(b"]")[2] else None
    if not value:
        return None
    if not value.isdigit() or len(value) > 5 or not 0 < int(value) < 65536:
        raise Refusal(400, "bad forwarded port", value)
    return int(value)


def _prefix(value: bytes | None) -> str:
    """A path of the proxy's, as text without its last slash; "//host" and what is no path are refused."""
    if not value or value == b"/":
        return ""
    if _is_prefix(value) is None:
        raise Refusal(400, "bad forwarded prefix", value)
    return value.decode("ascii").rstrip("/")


def parse_node(text: str) -> _Address | None:
    """The address in an entry of X-Forwarded-For or `for=`: with or without port, IPv6 with or without
    brackets.

    Returns (canonical address, port or 0), None for "unknown", "_hidden" and what is no address.
    """
    text = text.strip(" \t")
    return _parse_node(text) if len(text) <= _LONGEST_NODE else None


@lru_cache(maxsize=_REMEMBERED)
def _parse_node(text: str) -> _Address | None:
    host, port = text, ""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and port[0] != ":") or ":" not in host:
            return None
        port = port[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536):
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
    return str(address), int(port or 0)


def parse_forwarded(text: str) -> list[dict[str, str]]:
    """The elements of one Forwarded field (RFC 7239 4), parameter names lower-cased; raises `Refusal` 400."""
    elements: list[dict[str, str]] = []
    position = 0
    while True:
        element: dict[str, str] = {}
        while True:
            position = _skip_blanks(text, position)
            match = _pair(text, position)
            if match is not None:
                name, token, quoted = match.groups()
                name = name.lower()
                if name in element:
                    raise Refusal(400, "malformed forwarded field")
                element[name] = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                position = _skip_blanks(text, match.end())
            if text[position : position + 1] != ";":
                break
            position += 1
        if element:
            elements.append(element)
        if position == len(text):
            return elements
        if text[position] != ",":
            raise Refusal(400, "malformed forwarded field")
        position += 1


def _skip_blanks(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t"):
        position += 1
    return position
