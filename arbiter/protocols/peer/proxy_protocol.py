"""The PROXY protocol, versions 1 and 2 (haproxy doc/proxy-protocol.txt): what a TCP proxy says of the client.

Neighbours: a dispatcher feeds one `ProxyReader` per connection from an allowed peer before `http1` sees a
byte. Its one rule: where a header is expected it must be there and be well-formed; anything else raises
`ProxyError` and the connection is closed without an answer.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple, TypeAlias

from arbiter.errors import ArbiterError

_Address: TypeAlias = tuple[str, int]

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
"""The 12 bytes a version 2 header starts with."""

_V1_START: Final = b"PROXY "
_V1_LONGEST: Final = 107
"""The longest version 1 line with its CRLF."""
_V2_FIXED: Final = 16
_V2_LONGEST: Final = 16384
"""Bytes after the fixed part; the format allows 65535, what proxies send (TLS certificates) fits in this."""
_TLV_CRC32C: Final = 0x03

_v1_line = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
).fullmatch
_is_v1_unknown = re.compile(rb"PROXY UNKNOWN(?: [\x20-\x7e]*)?").fullmatch

_STREAMS: Final = {0x11: 4, 0x21: 16}
"""Version 2 families whose addresses are read, to the size of one: TCP over IPv4, TCP over IPv6."""
_NAMELESS: Final = {0x00: 0, 0x31: 216}
"""Families that name no client, to the size of their addresses: unspecified, unix stream."""


class ProxyError(ArbiterError):
    """The peer did not send a well-formed PROXY header; `str()` is a short fixed reason for log and
    counters.
    """


class ProxyHeader(NamedTuple):
    """client, server: what the proxy saw, None when it says nothing (health checks, unix sockets). rest: the
    bytes that follow the header.
    """

    client: _Address | None
    server: _Address | None
    rest: bytes


class ProxyReader:
    """Reads the one header at the start of a connection. mode: "v1", "v2" or "auto" (either)."""

    __slots__ = ("_held", "_starts")

    def __init__(self, mode: str) -> None:
        starts = {"v1": (_V1_START,), "v2": (SIGNATURE,), "auto": (_V1_START, SIGNATURE)}
        if mode not in starts:
            raise ValueError(f"no PROXY protocol mode {mode!r}: v1, v2 or auto")
        self._starts = starts[mode]
        self._held = b""

    def feed(self, data: bytes) -> ProxyHeader | None:
        """Take bytes; None while the header is incomplete. Raises `ProxyError` as soon as it cannot be
        one.
        """
        data = self._held + data
        for start in self._starts:
            if data[: len(start)] == start[: len(data)]:
                header = None if len(data) < len(start) else _READERS[start](data)
                self._held = data if header is None else b""
                return header
        raise ProxyError("no PROXY header")


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\n", 0, _V1_LONGEST)
    if end < 0:
        if len(data) >= _V1_LONGEST:
            raise ProxyError("PROXY line too long")
        return None
    line, rest = data[:end], data[end + 1 :]
    if line[-1:] != b"\r":
        raise ProxyError("malformed PROXY line")
    line = line[:-1]
    if _is_v1_unknown(line) is not None:
        return ProxyHeader(None, None, rest)
    match = _v1_line(line)
    if match is None:
        raise ProxyError("malformed PROXY line")
    family, source, target, source_port, target_port = (part.decode("ascii") for part in match.groups())
    return ProxyHeader(
        _v1_address(family, source, source_port), _v1_address(family, target, target_port), rest
    )


def _v1_address(family: str, host: str, port: str) -> _Address:
    try:
        address = ipaddress.IPv4Address(host) if family == "TCP4" else ipaddress.IPv6Address(host)
    except ValueError:
        raise ProxyError("malformed address in PROXY line") from None
    if int(port) > 65535:
        raise ProxyError("malformed port in PROXY line")
    return _plain(address), int(port)


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_FIXED:
        if len(data) > 12:
            _check_command(data[12])
        return None
    command = _check_command(data[12])
    family = data[13]
    length = int.from_bytes(data[14:16], "big")
    if length > _V2_LONGEST:
        raise ProxyError("PROXY header too long")
    end = _V2_FIXED + length
    if command and family not in _STREAMS and family not in _NAMELESS:
        raise ProxyError("PROXY header of an unknown family")
    if len(data) < end:
        return None
    size = _STREAMS.get(family, 0)
    addresses = 2 * size + 4 if size else _NAMELESS.get(family, 0)
    if not command:
        # LOCAL: the proxy speaks for itself; family and addresses are to be ignored, whatever they are.
        return ProxyHeader(None, None, data[end:])
    if length < addresses:
        raise ProxyError("PROXY header too short for its addresses")
    if family:
        _check_vectors(data[:end], _V2_FIXED + addresses)
    if not size:
        return ProxyHeader(None, None, data[end:])
    source = _v2_address(data[16 : 16 + size], data[16 + 2 * size : 18 + 2 * size])
    target = _v2_address(data[16 + size : 16 + 2 * size], data[18 + 2 * size : 20 + 2 * size])
    return ProxyHeader(source, target, data[end:])


def _check_command(byte: int) -> int:
    """Version 2 in the high nibble, command in the low: 0 LOCAL, 1 PROXY."""
    if byte not in (0x20, 0x21):
        raise ProxyError("PROXY header of an unknown version or command")
    return byte & 1


def _v2_address(packed: bytes, port: bytes) -> _Address:
    return _plain(ipaddress.ip_address(packed)), int.from_bytes(port, "big")


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Canonical text; an IPv4 client that came to an IPv6 socket is named by its IPv4 address."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def _check_vectors(header: bytes, position: int) -> None:
    """The type-length-value vectors after the addresses must fill the header; a checksum must be right."""
    while position < len(header):
        value = position + 3
        end = value + int.from_bytes(header[position + 1 : value], "big")
        if value > len(header) or end > len(header):
            raise ProxyError("malformed vector in PROXY header")
        if header[position] == _TLV_CRC32C:
            zeroed = header[:value] + bytes(end - value) + header[end:]
            if header[value:end] != crc32c(zeroed).to_bytes(4, "big"):
                raise ProxyError("wrong checksum of PROXY header")
        position = end


def _crc_entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_TABLE: Final = [_crc_entry(byte) for byte in range(256)]


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum of RFC 3720 B.4, which version 2 headers may carry; zlib has only the other."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


_READERS: Final = {_V1_START: _read_v1, SIGNATURE: _read_v2}
