"""What a field line may look like, what is read in it, and what the cache may keep."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.protocols.events import Field, FieldKind
from arbiter.protocols.fields import FieldCache, Refusal, environ_key, mark_forwarding, parse_field


def refused(line: bytes) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        parse_field(line)
    return caught.value.fault.status, caught.value.fault.reason


@pytest.mark.parametrize("space", [b" ", b"\t", b"  "])
def test_no_whitespace_before_the_colon(space: bytes) -> None:
    """http.md 9: a name is a token with no whitespace before the colon."""
    assert refused(b"Host" + space + b": a") == (400, "whitespace before colon")


@pytest.mark.parametrize(
    "byte", [b"\x00", b"\x1f", b" ", b'"', b"(", b",", b"/", b"=", b"@", b"\x7f", b"\x85", b"\xa0"]
)
def test_a_name_is_a_token(byte: bytes) -> None:
    """http.md 9: a name is a token; gunicorn once stripped \\xa0 and \\x85 off names."""
    assert refused(b"Content" + byte + b"Length: 5") == (400, "bad field name")
    assert refused(b"Content-Length" + byte + b"!: 5")[0] == 400


@pytest.mark.parametrize("byte", [b"\x0b", b"\x85", b"\xa0"])
def test_only_blanks_are_called_whitespace_before_the_colon(byte: bytes) -> None:
    """http.md 9, 12: \\x0b, \\x85 and \\xa0 are not whitespace, they are bad bytes in a name."""
    assert refused(b"Content-Length" + byte + b": 5") == (400, "bad field name")


def test_an_empty_name() -> None:
    """http.md 10: an empty name is refused."""
    assert refused(b": a") == (400, "empty field name")


@pytest.mark.parametrize("line", [b"Host", b"Content-Length 5", b"x"])
def test_a_line_without_a_colon(line: bytes) -> None:
    """http.md 9: every field line has a colon, also one whose whole text is a known name."""
    assert refused(line) == (400, "field line without a colon")


@pytest.mark.parametrize("byte", [bytes([b]) for b in [*range(9), *range(10, 32), 127]])
@pytest.mark.parametrize("line", [b"X-A: a%bb", b"X-A: %bb", b"X-A: a%b", b"Cookie: a%b"])
def test_control_bytes_in_values(line: bytes, byte: bytes) -> None:
    """http.md 10: NUL, bare CR, LF and every control byte but HTAB in a value are refused, at its ends
    too.
    """
    assert refused(line % byte) == (400, "control byte in a field value")


@pytest.mark.parametrize("line", [b" folded", b"\tfolded: a", b" X-A: b", b" "])
def test_obsolete_line_folding(line: bytes) -> None:
    """http.md 11: obs-fold is refused."""
    assert refused(line)[1] == "obsolete line folding"


def test_blanks_around_a_value_are_stripped() -> None:
    """http.md 12: SP and HTAB around a value are not part of it, inside they are."""
    assert parse_field(b"X-A: \t a\tb c \t").pair == (b"x-a", b"a\tb c")


@pytest.mark.parametrize("byte", [b"\x85", b"\xa0"])
def test_other_whitespace_is_not_stripped(byte: bytes) -> None:
    """http.md 12: \\x85 and \\xa0 are bytes of a value like others."""
    assert parse_field(b"X-A: " + byte + b"a" + byte).pair[1] == byte + b"a" + byte


def test_obs_text_is_kept_byte_exact() -> None:
    """http.md 13: bytes 0x80-0xFF in values are kept as they are, in both forms."""
    every = bytes(range(0x80, 0x100))
    field = parse_field(b"X-A: " + every)
    assert field.pair[1] == every
    assert field.text.encode("latin-1") == every


@pytest.mark.parametrize("name", [b"X_A", b"content_length", b"Transfer_Encoding", b"_", b"X-A_B"])
def test_names_with_underscores_are_set_apart(name: bytes) -> None:
    """http.md 15: a name with `_` never counts as its neighbour with `-`."""
    assert parse_field(name + b": 5").kind == FieldKind.UNDERSCORE


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (b"content-type", "CONTENT_TYPE"),
        (b"content-length", "CONTENT_LENGTH"),
        (b"content_length", "HTTP_CONTENT_LENGTH"),
        (b"accept", "HTTP_ACCEPT"),
        (b"x-a-b", "HTTP_X_A_B"),
        (b"proxy", ""),
        (b"proxy-authorization", "HTTP_PROXY_AUTHORIZATION"),
    ],
)
def test_environ_keys(name: bytes, key: str) -> None:
    """http.md 16: `Proxy` has no key, so it cannot become HTTP_PROXY; RFC 3875 names the rest."""
    assert environ_key(name) == key
    assert parse_field(name.title() + b": 1").key == key


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"example.com",
            b"example.com:80",
            b"example.com:",
            b"EXAMPLE.com",
            b"a_b.example",
            b"127.0.0.1:8000",
        ),
        *(b"[::1]", b"[::1]:8000", b"[::ffff:1.2.3.4]", b"a%20b", b"xn--nxasmq6b", b""),
    ],
)
def test_good_hosts(value: bytes) -> None:
    """http.md 17: uri-host with an optional port; empty is allowed (RFC 9112 3.2)."""
    assert parse_field(b"Host: " + value).kind == FieldKind.HOST


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"a b",
            b"a/b",
            b"user@a",
            b"a:b",
            b"a:80:80",
            b"a:123456",
            b":80",
            b"[::1",
            b"::1",
            b"[a]",
            b"[::1]x",
        ),
        *(
            b"a%2",
            b"a%zz",
            b"http://a",
            b"a?b",
            b"a#b",
            b"a\\b",
            b"\xc3\xa9",
            b"a, b c",
            b"[::1%25eth0]",
            b'"a"',
        ),
    ],
)
def test_bad_hosts(value: bytes) -> None:
    """http.md 17: what is not uri-host[:port] is refused."""
    assert refused(b"Host: " + value) == (400, "bad host")


@pytest.mark.parametrize("value", [b"0", b"5", b"007", b"9" * 19])
def test_good_lengths(value: bytes) -> None:
    """http.md 22: Content-Length is 1*DIGIT."""
    assert parse_field(b"Content-Length: " + value).pair[1] == value


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"",
            b"+5",
            b"-5",
            b"5 5",
            b"5,5",
            b"5, 5",
            b"0x5",
            b"5a",
            b"1_0",
            b"5.0",
            b"\xb2",
            b"\xd9\xa5",
            b'"5"',
        ),
        *(b"5;", b"9" * 20, b"0" * 20, b"1e3"),
    ],
)
def test_bad_lengths(value: bytes) -> None:
    """http.md 22, 23: signs, blanks inside, hex, lists, empty and more than 19 digits are refused."""
    assert refused(b"Content-Length: " + value) == (400, "bad content-length")


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"CHUNKED", b" \tchunked\t "])
def test_the_one_transfer_coding(value: bytes) -> None:
    """http.md 21: exactly one `chunked`, in any case."""
    assert parse_field(b"Transfer-Encoding:" + value).kind == FieldKind.TRANSFER_ENCODING


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"chunked, chunked", b"chunked,gzip", b"chunked, identity", b'"chunked"', b"chunked;q=1"),
        *(
            b",chunked",
            b"chunked,",
            b"chunked\xa0",
            b"\x85chunked",
            b"chun ked",
            b"chunked chunked",
            b"gzip chunked",
        ),
        *(b"a,b,c,d,e",),
    ],
)
def test_ambiguous_transfer_codings(value: bytes) -> None:
    """http.md 21: after, repeated, quoted, with parameters, with odd whitespace: 400 (CVE-2024-1135)."""
    assert refused(b"Transfer-Encoding: " + value) == (400, "bad transfer-encoding")


@pytest.mark.parametrize("byte", [b"\x0b", b"\x0c", b"\x1c", b"\x1f"])
def test_control_bytes_around_chunked(byte: bytes) -> None:
    """http.md 21: gunicorn 2176 and 3364, a vertical tab in front of `chunked`."""
    assert refused(b"Transfer-Encoding:" + byte + b"chunked")[0] == 400


@pytest.mark.parametrize("value", [b"gzip", b"identity", b"xchunked", b"gzip, chunked", b"chunked-ish"])
def test_unknown_transfer_codings(value: bytes) -> None:
    """http.md 21: a coding that is well-formed and unknown is 501, never Content-Length (CVE-2024-6827)."""
    assert refused(b"Transfer-Encoding: " + value) == (501, "transfer coding not implemented")


def test_a_refusal_quotes_the_peer_only_for_the_log() -> None:
    """http.md 48: the reason is fixed text; the detail is escaped and bounded."""
    with pytest.raises(Refusal) as caught:
        parse_field(b"X-A: \x1b[31m" + b"a" * 5000)
    fault = caught.value.fault
    assert fault.reason == "control byte in a field value"
    assert "\x1b" not in fault.detail
    assert len(fault.detail) < 1000


# ---- the cache


def test_the_cache_gives_the_same_field_again() -> None:
    cache = FieldCache()
    assert cache[b"Accept: */*"] is cache[b"Accept: */*"]


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"Cookie: a=b",
            b"Authorization: Basic eDp5",
            b"Proxy-Authorization: x",
            b"X-Api-Key: k",
            b"X-CSRFToken: t",
        ),
        *(
            b"X-Auth-Request: a",
            b"X-Session: s",
            b"X-Forwarded-Access-Token: t",
            b"My-Password: p",
            b"api_token: t",
        ),
    ],
)
def test_secrets_are_never_kept(line: bytes) -> None:
    """The cache is shared by all connections of a worker: credentials do not live in it."""
    cache = FieldCache()
    assert cache[line].pair[1]
    assert not cache


def test_long_lines_are_never_kept() -> None:
    cache = FieldCache()
    assert cache[b"X-A: " + b"a" * 300].pair[0] == b"x-a"
    assert not cache


def test_the_cache_is_bounded_and_keeps_what_is_in_use() -> None:
    """A flood of unique lines neither grows the cache nor pushes out a line that is asked for now and
    then.
    """
    cache = FieldCache()
    common = cache[b"Accept: */*"]
    for number in range(20 * cache.ENTRIES):
        assert cache[b"X-Id: %d" % number].text == str(number)
        if number % 300 == 0:
            assert cache[b"Accept: */*"] is common
        assert len(cache) <= cache.ENTRIES
        assert len(cache._previous) <= cache.ENTRIES


def test_a_refused_line_is_refused_again() -> None:
    """Nothing about a bad line is kept."""
    cache = FieldCache()
    for _ in range(2):
        with pytest.raises(Refusal):
            cache[b"Host : a"]
    assert not cache


def test_a_flood_of_names_is_bounded() -> None:
    from arbiter.protocols import fields

    for number in range(3000):
        parse_field(b"X-Name-%d: a" % number)
        assert len(fields._NAMES) <= fields._NAMES.ENTRIES
    assert parse_field(b"Host: a").kind == FieldKind.HOST


@given(st.binary(max_size=40))
def test_cached_and_uncached_agree(line: bytes) -> None:
    """The verdict is a function of the line alone."""

    def verdict(parse: Callable[[bytes], Field]) -> Field | str:
        try:
            return parse(line)
        except Refusal as refusal:
            return refusal.fault.reason

    cache = FieldCache()
    assert verdict(cache.__getitem__) == verdict(cache.__getitem__) == verdict(parse_field)


def test_fields_by_which_the_operators_proxy_speaks() -> None:
    """http.md 49: a custom secure scheme header is read like X-Forwarded-*."""
    assert parse_field(b"Front-End-Test: on").kind == FieldKind.OTHER
    mark_forwarding([b"front-end-test", b"host"])
    assert parse_field(b"Front-End-Test: on").kind == FieldKind.FORWARDING
    assert parse_field(b"Host: a").kind == FieldKind.HOST
