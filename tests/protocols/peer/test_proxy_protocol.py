"""http.md 50: the PROXY protocol, strict in both versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.protocols.peer.proxy_protocol import SIGNATURE, ProxyError, ProxyHeader, ProxyReader, crc32c

V4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + (5678).to_bytes(2, "big") + (443).to_bytes(2, "big")
V6 = bytes(15) + b"\x01" + bytes(15) + b"\x02" + (1).to_bytes(2, "big") + (2).to_bytes(2, "big")
MAPPED = bytes(10) + b"\xff\xff\x01\x02\x03\x04" + bytes(10) + b"\xff\xff\x05\x06\x07\x08" + bytes(4)


def v2(payload: bytes, *, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return SIGNATURE + bytes([command, family]) + size.to_bytes(2, "big") + payload


def vector(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def read(data: bytes, mode: str = "auto") -> ProxyHeader:
    header = ProxyReader(mode).feed(data)
    assert header is not None
    return header


@pytest.mark.parametrize(
    ("line", "client", "server"),
    [
        (b"TCP4 192.0.2.1 198.51.100.2 5678 443", ("192.0.2.1", 5678), ("198.51.100.2", 443)),
        (b"TCP6 2001:DB8::1 ::1 0 65535", ("2001:db8::1", 0), ("::1", 65535)),
        (b"TCP6 ::ffff:1.2.3.4 ::1 1 2", ("1.2.3.4", 1), ("::1", 2)),
        (b"UNKNOWN", None, None),
        (b"UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", None, None),
    ],
)
def test_version_1(line: bytes, client: tuple[str, int] | None, server: tuple[str, int] | None) -> None:
    """http.md 50: a line of text; the bytes behind it are HTTP's."""
    for mode in ("v1", "auto"):
        assert read(b"PROXY " + line + b"\r\nGET / HTTP/1.1\r\n", mode) == (
            client,
            server,
            b"GET / HTTP/1.1\r\n",
        )


@pytest.mark.parametrize(
    "line",
    [
        *(b"PROXY TCP4 192.0.2.1 198.51.100.2 5678 443\n", b"PROXY TCP4 192.0.2.1 198.51.100.2 5678\r\n"),
        *(
            b"PROXY TCP4 192.0.2.1 198.51.100.2 5678 65536\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 05 443\r\n",
        ),
        *(
            b"PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY TCP6 1.2.3.4 ::1 1 2\r\n",
        ),
        *(b"PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n", b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n"),
        *(b"PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n", b"PROXY UNKNOWNX\r\n", b"PROXY UNKNOWN \x00\r\n"),
        *(
            b"PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n",
            b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            b"PROXY \r\n",
        ),
        *(
            b"PROXY UNKNOWN " + b"a" * 100 + b"\r\n",
            b"PROXY " + b"T" * 101,
            b"PROXY TCP4 -1.2.3.4 1.2.3.4 1 2\r\n",
        ),
    ],
)
def test_malformed_lines(line: bytes) -> None:
    """http.md 50: malformed: close."""
    with pytest.raises(ProxyError):
        ProxyReader("v1").feed(line)


def test_the_longest_line() -> None:
    """http.md 50: 107 bytes with CRLF, as the specification counts."""
    longest = b"PROXY UNKNOWN " + b"a" * 91 + b"\r\n"
    assert len(longest) == 107
    assert read(longest).client is None


@pytest.mark.parametrize(
    ("data", "client", "server"),
    [
        (v2(V4), ("192.0.2.1", 5678), ("198.51.100.2", 443)),
        (v2(V6, family=0x21), ("::1", 1), ("::2", 2)),
        (v2(MAPPED, family=0x21), ("1.2.3.4", 0), ("5.6.7.8", 0)),
        (
            v2(V4 + vector(0x02, b"example.com") + vector(0x04, b"")),
            ("192.0.2.1", 5678),
            ("198.51.100.2", 443),
        ),
        (v2(b"", command=0x20, family=0), None, None),
        (v2(V4, command=0x20), None, None),
        (v2(b"\xff" * 9, command=0x20, family=0x77), None, None),
        (v2(b"", family=0), None, None),
        (v2(b"\xff" * 7, family=0), None, None),
        (v2(bytes(216), family=0x31), None, None),
    ],
)
def test_version_2(data: bytes, client: tuple[str, int] | None, server: tuple[str, int] | None) -> None:
    """http.md 50: TCP over IPv4 and IPv6; LOCAL, unspecified and unix name no client."""
    for mode in ("v2", "auto"):
        assert read(data + b"GET", mode) == (client, server, b"GET")


@pytest.mark.parametrize(
    "data",
    [
        v2(V4, command=0x11),
        v2(V4, command=0x22),
        v2(V4, command=0x31),
        v2(V4, family=0x12),
        v2(V4, family=0x41),
        v2(V4[:-1]),
        v2(V4, family=0x21),
        v2(bytes(215), family=0x31),
        v2(V4 + b"\x01"),
        v2(V4 + b"\x01\x00"),
        v2(V4 + b"\x01\x00\x05abc"),
        v2(b"", length=16385),
        v2(V4 + vector(0x03, b"\0\0\0\0")),
        v2(V4 + vector(0x03, b"\0")),
    ],
)
def test_malformed_headers(data: bytes) -> None:
    """http.md 50: wrong version, command, family, length, vector or checksum: close."""
    with pytest.raises(ProxyError):
        ProxyReader("v2").feed(data)


def test_a_bad_command_is_refused_at_its_byte() -> None:
    """http.md 50: without waiting for the rest of the header."""
    with pytest.raises(ProxyError, match="version or command"):
        ProxyReader("v2").feed(SIGNATURE + b"\x31")


def test_the_checksum() -> None:
    """http.md 50: a CRC-32c in the header is verified (RFC 3720 B.4 gives the first value)."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    unsummed = v2(V4 + vector(0x03, b"\0\0\0\0") + vector(0x05, b"id"))
    right = unsummed.replace(vector(0x03, b"\0\0\0\0"), vector(0x03, crc32c(unsummed).to_bytes(4, "big")))
    assert read(right).client == ("192.0.2.1", 5678)
    with pytest.raises(ProxyError, match="checksum"):
        ProxyReader("v2").feed(right.replace(b"id", b"ie"))


@pytest.mark.parametrize("mode", ["v1", "v2", "auto"])
@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"proxy TCP4", b"PRI * HTTP", b"\r\n\r\nGET", b"\n"]
)
def test_required_means_required(mode: str, data: bytes) -> None:
    """http.md 50: where the header is expected, nothing else is served."""
    with pytest.raises(ProxyError, match="no PROXY header"):
        ProxyReader(mode).feed(data)


def test_only_the_version_asked_for() -> None:
    """http.md 50: v1 where v2 is configured, and the other way round, is malformed."""
    with pytest.raises(ProxyError):
        ProxyReader("v2").feed(b"PROXY UNKNOWN\r\n")
    with pytest.raises(ProxyError):
        ProxyReader("v1").feed(v2(V4))
    with pytest.raises(ValueError, match="mode"):
        ProxyReader("off")


@pytest.mark.parametrize(
    "data",
    [b"PROXY TCP4 192.0.2.1 198.51.100.2 5678 443\r\n", v2(V4), v2(V6 + vector(1, b"h2"), family=0x21)],
)
def test_byte_by_byte(data: bytes) -> None:
    """http.md 32, 50: no split changes anything, and nothing is read too far."""
    reader = ProxyReader("auto")
    assert reader.feed(b"") is None
    for byte in data[:-1]:
        assert reader.feed(bytes([byte])) is None
    assert reader.feed(data[-1:] + b"rest") == read(data + b"rest")


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00\x0c"]),
    st.binary(max_size=150),
)
def test_noise(start: bytes, noise: bytes) -> None:
    """http.md 50: any bytes are read, waited on or refused; split or whole alike."""

    def outcome(*pieces: bytes) -> ProxyHeader | str | None:
        reader = ProxyReader("auto")
        rest = list(pieces)
        try:
            while rest:
                header = reader.feed(rest.pop(0))
                if header is not None:
                    return header._replace(rest=header.rest + b"".join(rest))
        except ProxyError as error:
            return str(error)
        return None

    data = start + noise
    assert outcome(data) == outcome(*(data[i : i + 1] for i in range(len(data))))
