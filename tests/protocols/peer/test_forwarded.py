"""Who the client is, by what trusted proxies say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.protocols.fields import Refusal, parse_field
from arbiter.protocols.peer.forwarded import (
    FAMILIES,
    ForwardedPolicy,
    Origin,
    TrustedPeers,
    parse_forwarded,
    parse_node,
)

PROXY = "10.0.0.1"
STRANGER = "203.0.113.9"
SCHEMES = {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"}
ENTRIES = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"]


def resolve(
    *lines: bytes, peer: str | None = PROXY, scheme: str = "http", entries: list[str] = ENTRIES
) -> Origin | None:
    policy = ForwardedPolicy(TrustedPeers(entries), SCHEMES)
    return policy.resolve([parse_field(line) for line in lines], peer, scheme)


def told(
    *lines: bytes, peer: str | None = PROXY, scheme: str = "http", entries: list[str] = ENTRIES
) -> Origin:
    origin = resolve(*lines, peer=peer, scheme=scheme, entries=entries)
    assert origin is not None
    return origin


def refused(*lines: bytes) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        resolve(*lines)
    return caught.value.fault.status, caught.value.fault.reason


# ---- what is believed


SAID = [
    b"X-Forwarded-For: 203.0.113.7",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: other.org:81",
    b"X-Forwarded-Port: 82",
    b"X-Forwarded-Prefix: /app",
]


@pytest.mark.parametrize(
    ("believed", "origin"),
    [
        (FAMILIES, Origin(("203.0.113.7", 0), "https", b"other.org:81", 82, "/app")),
        (("for",), Origin(("203.0.113.7", 0), "http", None, None, "")),
        (("proto",), Origin(None, "https", None, None, "")),
        (("host",), Origin(None, "http", b"other.org:81", 81, "")),
        (("port",), Origin(None, "http", None, 82, "")),
        (("prefix",), Origin(None, "http", None, None, "/app")),
        (("forwarded",), Origin(("203.0.113.8", 0), "http", None, None, "")),
        ((), Origin(None, "http", None, None, "")),
    ],
    ids=str,
)
def test_only_the_fields_that_the_proxy_sets_are_believed(
    believed: tuple[str, ...], origin: Origin
) -> None:
    """http.md 49, narrowed by the setting `forwarded_fields`: what it does not name is left as it came."""
    policy = ForwardedPolicy(TrustedPeers(ENTRIES), SCHEMES, believed)
    lines = [*SAID, b"Forwarded: for=203.0.113.8"]
    assert policy.resolve([parse_field(line) for line in lines], PROXY, "http") == origin


# ---- who is believed


@pytest.mark.parametrize(
    ("host", "trusted"),
    [
        ("127.0.0.1", True),
        ("10.255.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("fd12::1", True),
        ("fd12::1%eth0", True),
        ("127.0.0.2", False),
        ("11.0.0.1", False),
        ("::1", False),
        ("", False),
        ("localhost", False),
        (None, True),
    ],
)
def test_trusted_peers(host: str | None, trusted: bool) -> None:
    """http.md 49: addresses, networks, and the unix socket (None)."""
    peers = TrustedPeers(ENTRIES)
    assert peers.trusts(host) is trusted
    assert peers.trusts(host) is trusted


def test_everyone_and_nobody() -> None:
    """http.md 49: "*" is everyone; "unix" names what is trusted anyway; an empty list leaves the unix
    socket.
    """
    assert TrustedPeers(["*"]).trusts(STRANGER)
    assert not TrustedPeers(["unix"]).trusts("127.0.0.1")
    assert TrustedPeers([]).trusts(None)
    assert not TrustedPeers([]).trusts("127.0.0.1")
    with pytest.raises(ValueError, match="example"):
        TrustedPeers(["example.com"])


def test_what_is_remembered_of_peers_is_bounded() -> None:
    """http.md 49: a flood of addresses grows nothing."""
    peers = TrustedPeers(ENTRIES)
    for number in range(5000):
        peers.trusts(f"203.0.{number // 256}.{number % 256}")
    assert len(peers._known) <= 1024


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"X-Forwarded-For: 1.2.3.4",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Host: evil",
            b"Forwarded: for=1.2.3.4",
        ),
        *(
            b"X-Forwarded-Port: 1",
            b"X-Forwarded-Prefix: /evil",
            b"X-Forwarded-Proto: a, b",
            b"Forwarded: ;;;,==",
        ),
    ],
)
def test_strangers_are_not_believed(line: bytes) -> None:
    """http.md 49: from strangers the fields are plain fields: no change, no refusal."""
    assert resolve(line, b"X-Forwarded-Ssl: off", peer=STRANGER) is None


def test_nothing_said_nothing_changed() -> None:
    """http.md 49: without such fields nothing is made."""
    assert resolve(b"Host: a", b"X-Real-IP: 1.2.3.4") is None


# ---- the client


@pytest.mark.parametrize(
    ("values", "client"),
    [
        ([b"1.2.3.4"], ("1.2.3.4", 0)),
        ([b"1.2.3.4, 10.0.0.2"], ("1.2.3.4", 0)),
        ([b"9.9.9.9, 1.2.3.4, 10.0.0.2,10.0.0.3"], ("1.2.3.4", 0)),
        ([b"9.9.9.9", b"1.2.3.4", b"10.0.0.2"], ("1.2.3.4", 0)),
        ([b"10.0.0.9, 10.0.0.2"], ("10.0.0.9", 0)),
        ([b"1.2.3.4:5678"], ("1.2.3.4", 5678)),
        ([b"[2001:db8::1]:5678"], ("2001:db8::1", 5678)),
        ([b"2001:DB8:0::1"], ("2001:db8::1", 0)),
        ([b"::ffff:1.2.3.4"], ("1.2.3.4", 0)),
        ([b"1.2.3.4, unknown, 10.0.0.2"], ("10.0.0.2", 0)),
        ([b"<script>, 10.0.0.2"], ("10.0.0.2", 0)),
        ([b"unknown"], None),
        ([b""], None),
        ([b"1.2.3.4,"], None),
    ],
)
def test_the_walk_over_trusted_hops(values: list[bytes], client: tuple[str, int] | None) -> None:
    """http.md 49: from the right, over trusted hops, to the first address that is not one of ours."""
    assert told(*(b"X-Forwarded-For: " + value for value in values)).client == client


def test_a_client_cannot_name_itself() -> None:
    """http.md 49: what a client put in front of the proxy's entry never becomes the client."""
    spoofed = told(b"X-Forwarded-For: 127.0.0.1, 10.0.0.7, " + STRANGER.encode())
    assert spoofed.client == (STRANGER, 0)


def test_with_everyone_trusted_the_leftmost_counts() -> None:
    """http.md 49: "*" believes every hop; the walk is bounded."""
    assert told(b"X-Forwarded-For: 1.1.1.1, 2.2.2.2", peer=STRANGER, entries=["*"]).client == ("1.1.1.1", 0)
    many = b", ".join(b"10.0.%d.%d" % divmod(number, 256) for number in range(300))
    assert told(b"X-Forwarded-For: " + many).client == ("10.0.0.236", 0)


def test_through_a_unix_socket() -> None:
    """http.md 51: the proxy on the unix socket names the client, which then is defined."""
    assert told(b"X-Forwarded-For: 1.2.3.4", peer=None, entries=[]).client == ("1.2.3.4", 0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" 1.2.3.4\t", ("1.2.3.4", 0)),
        ("[::1]", ("::1", 0)),
        ("1.2.3.4:0", ("1.2.3.4", 0)),
        ("1.2.3.4:65535", ("1.2.3.4", 65535)),
        ("1.2.3.4:65536", None),
        ("1.2.3.4:a", None),
        ("1.2.3.4:\u0661", None),
        ("01.2.3.4", None),
        ("1.2.3", None),
        ("[1.2.3.4]", None),
        ("[::1", None),
        ("[::1]1", None),
        ("[::1]:", ("::1", 0)),
        ("fe80::1%eth0", None),
        ("_hidden", None),
        ("1.2.3.4" * 100, None),
    ],
)
def test_nodes(text: str, address: tuple[str, int] | None) -> None:
    """http.md 49: an entry is an address, with or without port, or nothing."""
    assert parse_node(text) == address


@given(st.text(max_size=30))
def test_nodes_never_raise(text: str) -> None:
    """http.md 49: whatever stands there."""
    address = parse_node(text)
    assert address is None or parse_node(address[0]) == (address[0], 0)


# ---- scheme


@pytest.mark.parametrize(
    ("lines", "scheme"),
    [
        ([b"X-Forwarded-Proto: https"], "https"),
        ([b"X-Forwarded-Proto: HTTPS"], "https"),
        ([b"X-Forwarded-Proto: wss"], "https"),
        ([b"X-Forwarded-Proto: http"], "http"),
        ([b"X-Forwarded-Proto: anything"], "http"),
        ([b"X-Forwarded-Ssl: on"], "https"),
        ([b"X-Forwarded-Protocol: ssl", b"X-Forwarded-Proto: https", b"X-Forwarded-Ssl: on"], "https"),
        ([b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: https"], "https"),
        ([b"X-Forwarded-Proto: https, http", b"X-Forwarded-For: 1.2.3.4, 10.0.0.2"], "https"),
        ([b"X-Forwarded-Proto: https, http"], "http"),
        ([b"X-Forwarded-Proto: https", b"X-Forwarded-For: 1.2.3.4, 10.0.0.2"], "https"),
    ],
)
def test_schemes(lines: list[bytes], scheme: str) -> None:
    """http.md 49: gunicorn's secure_scheme_headers; in lists the entry of the client's hop counts."""
    assert told(*lines).scheme == scheme


def test_the_scheme_of_the_connection_stays_where_nothing_is_said() -> None:
    """http.md 49: and a proxy may also say that the client came without TLS."""
    assert told(b"X-Forwarded-For: 1.2.3.4", scheme="https").scheme == "https"
    assert told(b"X-Forwarded-Proto: http", scheme="https").scheme == "http"


def test_schemes_of_websockets() -> None:
    """http.md 49: ws becomes wss."""
    assert told(b"X-Forwarded-Proto: https", scheme="ws").scheme == "wss"
    assert told(b"X-Forwarded-Proto: http", scheme="wss").scheme == "ws"


@pytest.mark.parametrize(
    "lines",
    [
        [b"X-Forwarded-Proto: https", b"X-Forwarded-Ssl: off"],
        [b"X-Forwarded-Proto: http", b"X-Forwarded-Proto: https"],
        [b"X-Forwarded-Protocol: ssl", b"X-Forwarded-Proto: http"],
    ],
)
def test_contradicting_schemes(lines: list[bytes]) -> None:
    """http.md 49: as in gunicorn: nobody knows which is true, so the request is refused."""
    assert refused(*lines) == (400, "contradicting scheme fields")


def test_a_custom_scheme_field() -> None:
    """http.md 49: secure_scheme_headers may name any field."""
    policy = ForwardedPolicy(TrustedPeers(["*"]), {"X-MY-SCHEME-TEST": "tls"})
    origin = policy.resolve([parse_field(b"x-my-scheme-test: TLS")], PROXY, "http")
    assert origin is not None
    assert origin.scheme == "https"
    assert policy.resolve([parse_field(b"X-Forwarded-Proto: https")], PROXY, "http") == Origin(
        None, "http", None, None, ""
    )


# ---- host, port, prefix


def test_host_and_port() -> None:
    """http.md 49: the host the client named; the port from its own field, else from the host."""
    both = told(b"X-Forwarded-Host: shop.example:8443", b"X-Forwarded-Port: 443")
    assert (both.host, both.port) == (b"shop.example:8443", 443)
    assert told(b"X-Forwarded-Host: shop.example:8443").port == 8443
    assert told(b"X-Forwarded-Host: [::1]:81").port == 81
    assert told(b"X-Forwarded-Host: [::1]").port is None
    assert told(b"X-Forwarded-Host: a.example, b.example", b"X-Forwarded-For: 1.1.1.1").host == b"b.example"
    assert told(b"X-Forwarded-Host:").host is None


@pytest.mark.parametrize("value", [b"a b", b"a/b", b"u@a", b"a:b", b"<x>"])
def test_bad_hosts(value: bytes) -> None:
    """http.md 17, 49: a forwarded host is judged like Host."""
    assert refused(b"X-Forwarded-Host: " + value) == (400, "bad host")
    assert refused(b'Forwarded: host="' + value + b'"') == (400, "bad host")


@pytest.mark.parametrize("value", [b"0", b"65536", b"-1", b"a", b"8 0", b"123456"])
def test_bad_ports(value: bytes) -> None:
    """http.md 49: a port is 1 to 65535."""
    assert refused(b"X-Forwarded-Port: " + value) == (400, "bad forwarded port")


@pytest.mark.parametrize(
    ("value", "prefix"),
    [(b"/shop", "/shop"), (b"/shop/", "/shop"), (b"/", ""), (b"", ""), (b"/a/b%20c", "/a/b%20c")],
)
def test_prefixes(value: bytes, prefix: str) -> None:
    """http.md 49: the path a proxy took off, without its last slash."""
    assert told(b"X-Forwarded-Prefix: " + value).prefix == prefix


@pytest.mark.parametrize(
    "value", [b"shop", b"//evil.example", b"/a//b", b"/a?b", b"/a#b", b"http://a", b"/a b", b"/\xff"]
)
def test_bad_prefixes(value: bytes) -> None:
    """http.md 49: "//host" in front of every link would be somebody else's site."""
    assert refused(b"X-Forwarded-Prefix: " + value) == (400, "bad forwarded prefix")


# ---- Forwarded


def test_forwarded() -> None:
    """http.md 49: RFC 7239, walked like X-Forwarded-For; proto and host are those of the client's element."""
    origin = told(
        b"Forwarded: for=6.6.6.6;proto=http;host=evil",
        b'forwarded: For="[2001:db8:cafe::17]:4711";Proto=HTTPS;by=203.0.113.43;host="shop.example:8443"'
        b", for=10.0.0.2",
    )
    assert origin == Origin(("2001:db8:cafe::17", 4711), "https", b"shop.example:8443", 8443, "")


def test_forwarded_without_a_client() -> None:
    """http.md 49: an obfuscated or missing client changes no client; the rest counts."""
    for value in (b"for=unknown;proto=https", b"proto=https", b"for=_gazonk;proto=https"):
        assert told(b"Forwarded: " + value) == Origin(None, "https", None, None, "")
    assert told(b"Forwarded: for=1.2.3.4", scheme="https") == Origin(("1.2.3.4", 0), "https", None, None, "")
    assert told(b"Forwarded:") == Origin(None, "http", None, None, "")


def test_forwarded_beside_the_other_family() -> None:
    """http.md 49: X-Forwarded-* is what proxies write; a Forwarded beside it came from the client."""
    origin = told(b"Forwarded: for=6.6.6.6;host=evil;proto=https", b"X-Forwarded-For: 1.2.3.4")
    assert origin == Origin(("1.2.3.4", 0), "http", None, None, "")


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("for=a", [{"for": "a"}]),
        ('For="a, b;c=d\\"e"', [{"for": 'a, b;c=d"e'}]),
        ("for=a;proto=b , for=c", [{"for": "a", "proto": "b"}, {"for": "c"}]),
        (" , for=a,,for=b;", [{"for": "a"}, {"for": "b"}]),
        ("", []),
    ],
)
def test_elements(text: str, elements: list[dict[str, str]]) -> None:
    """http.md 49: the grammar of RFC 7239 4."""
    assert parse_forwarded(text) == elements


@pytest.mark.parametrize(
    "text",
    [
        "for",
        "for=",
        'for="a',
        "for = a",
        "for=a b",
        'for=a"b"',
        "for=[::1]",
        "for=a;for=b",
        "for=1.2.3.4:80",
        "=a",
        '"',
    ],
)
def test_malformed_elements(text: str) -> None:
    """http.md 49: an open quote of a client's must not swallow what the proxy wrote behind it."""
    with pytest.raises(Refusal, match="malformed forwarded field"):
        parse_forwarded(text)
    assert refused(b"Forwarded: " + text.encode() + b", for=1.2.3.4") == (400, "malformed forwarded field")


@given(st.text(st.sampled_from('for="\\;,[]:. aπ'), max_size=40))
def test_elements_never_raise_anything_else(text: str) -> None:
    """http.md 49: whatever stands there is read or refused."""
    try:
        elements = parse_forwarded(text)
    except Refusal:
        return
    assert all(name == name.lower() for element in elements for name in element)
