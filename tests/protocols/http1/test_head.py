"""Request heads: what is accepted, what is refused and with which status."""

from __future__ import annotations

import pytest

from arbiter.protocols.events import BadRequest, Request
from arbiter.protocols.limits import Underscores
from tests.fakes.http1 import connection, head, refusal, request

# ---- the request line


@pytest.mark.parametrize("method", ["GET", "PURGE", "MKCOL", "get", "Get", "M-SEARCH", "X!#$%&'*+-.^_`|~9"])
def test_methods_pass_as_they_are(method: str) -> None:
    """http.md 1: a method is a case-sensitive token; unknown ones pass, lower case is not folded."""
    assert request(line=method.encode() + b" / HTTP/1.1").method == method


@pytest.mark.parametrize("method", [b"", b"G\xc9T", b"GE(T", b"G\x00T", b"GET:", b"\x7fGET", b'"GET"'])
def test_methods_that_are_no_token(method: bytes) -> None:
    """http.md 1: everything else is refused."""
    assert refusal(head(line=method + b" / HTTP/1.1")) == (400, "malformed request line")


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"GET  / HTTP/1.1",
            b"GET /  HTTP/1.1",
            b" GET / HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b"GET\t/\tHTTP/1.1",
        ),
        *(b"GET / a HTTP/1.1", b"GET", b"GET\x0b/\x0bHTTP/1.1", b"GET /HTTP/1.1 ", b"a b c d"),
    ],
)
def test_one_space_between_three_parts(line: bytes) -> None:
    """http.md 2: exactly one SP between the parts, none around them."""
    assert refusal(head(line=line))[0] == 400


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_versions_served(version: bytes) -> None:
    """http.md 3: HTTP/1.0 and HTTP/1.1."""
    assert request(line=b"GET / HTTP/" + version).version == version.decode()


@pytest.mark.parametrize(
    "version", [b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/0.9", b"HTTP/0.2"]
)
def test_versions_not_served(version: bytes) -> None:
    """http.md 3: other versions of HTTP are 505."""
    assert refusal(head(line=b"GET / " + version)) == (505, "only HTTP/1.0 and HTTP/1.1 are served here")


@pytest.mark.parametrize(
    "version",
    [
        b"http/1.1",
        b"HTTP/1",
        b"HTTP/1.10",
        b"HTTP/01.1",
        b"HTTP/1.1a",
        b"HTTPS/1.1",
        b"HTTP/1,1",
        b"HTTP /1.1",
        b"ICY",
    ],
)
def test_malformed_versions(version: bytes) -> None:
    """http.md 3: a malformed version is 400 (gunicorn 2810: `HTTP/0.2.1...`)."""
    assert refusal(head(line=b"GET / " + version))[0] == 400


@pytest.mark.parametrize("line", [b"GET /\r\n", b"GET /index.html\r\n"])
def test_simple_requests(line: bytes) -> None:
    """http.md 3: an HTTP/0.9 simple request is 400, at once and not when a time-out ends the wait for
    more.
    """
    assert refusal(line) == (400, "HTTP/0.9 is not served")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a/b?c=d?e", b"/a/b", b"c=d?e"),
        (b"/a%20b?", b"/a%20b", b""),
        (b"//a/../b", b"//a/../b", b""),
        (b"/a|b^c{d}", b"/a|b^c{d}", b""),
        (b"/http://x/", b"/http://x/", b""),
    ],
)
def test_origin_form(target: bytes, path: bytes, query: bytes) -> None:
    """http.md 4: path and query are split at the first "?" and left undecoded."""
    got = request(line=b"GET " + target + b" HTTP/1.1")
    assert (got.target, got.path, got.query) == (target, path, query)


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        (b"http://other.example/a?b", b"/a", b"b", b"other.example"),
        (b"HTTPS://other.example:8443", b"/", b"", b"other.example:8443"),
        (b"http://[::1]:8000?a/b", b"/", b"a/b", b"[::1]:8000"),
        (b"http://a/b://c", b"/b://c", b"", b"a"),
    ],
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_absolute_form(target: bytes, path: bytes, query: bytes, host: bytes, version: bytes) -> None:
    """http.md 4: the authority of an absolute-form target replaces Host (RFC 9112 3.2.2)."""
    got = request(b"Accept: a", line=b"GET " + target + b" HTTP/" + version)
    assert (got.target, got.path, got.query) == (target, path, query)
    assert [field.pair for field in got.fields] == [(b"host", host), (b"accept", b"a")]
    assert got.fields[0].key == "HTTP_HOST"


def test_absolute_form_of_an_old_client_without_host() -> None:
    """http.md 4, 17: HTTP/1.0 needs no Host; the target names it."""
    [event] = connection().receive(head(b"Accept: a", line=b"GET http://a/ HTTP/1.0", host=None))
    assert isinstance(event, Request)
    assert [field.pair for field in event.fields] == [(b"host", b"a"), (b"accept", b"a")]


def test_asterisk_form() -> None:
    """http.md 4: `*` is a target of OPTIONS only."""
    assert request(line=b"OPTIONS * HTTP/1.1").path == b"*"
    assert request(line=b"OPTIONS http://a HTTP/1.1").path == b"*"
    assert refusal(head(line=b"GET * HTTP/1.1")) == (400, "asterisk-form is for OPTIONS only")
    assert refusal(head(line=b"OPTIONS *?a HTTP/1.1")) == (400, "bad request-target")


def test_connect() -> None:
    """http.md 4: the authority-form is for CONNECT, which is no service of ours: 405 with Allow."""
    conn = connection()
    [event] = conn.receive(head(line=b"CONNECT example.com:443 HTTP/1.1"))
    assert isinstance(event, BadRequest)
    assert (event.status, event.reason) == (405, "CONNECT is not served")
    assert b"\r\nallow: GET, " in conn.refuse(event)
    assert refusal(head(line=b"GET example.com:443 HTTP/1.1")) == (400, "bad request-target")


@pytest.mark.parametrize(
    "target",
    [
        *(
            b"/a#b",
            b"/a\x00",
            b"/a\x7f",
            b"/\x1b",
            b"/a\tb",
            b"/a\rb",
            b"a",
            b"?a",
            b"",
            b"ftp://a/",
            b"http://",
        ),
        *(b"http:///a", b"http://u@a/", b"http://a b/", b"://a", b"http:/a", b"http://a:b/", b"http://[::1/"),
    ],
)
def test_bad_targets(target: bytes) -> None:
    """http.md 4: fragment, control byte, other schemes, user information, empty or bad authority: refused."""
    assert refusal(head(line=b"GET " + target + b" HTTP/1.1"))[0] == 400


def test_bytes_above_ascii_in_a_target_pass_untouched() -> None:
    """http.md 4: the policy on non-ASCII bytes: passed through as they came."""
    every = bytes(range(0x80, 0x100))
    got = request(line=b"GET /" + every + b"?" + every + b" HTTP/1.1")
    assert (got.path, got.query) == (b"/" + every, every)


@pytest.mark.parametrize("count", range(5))
def test_empty_lines_before_a_request(count: int) -> None:
    """http.md 5: a few empty lines before the request line are skipped (RFC 9112 2.2)."""
    [event] = connection().receive(b"\r\n" * count + head())
    assert isinstance(event, Request)


def test_too_many_empty_lines() -> None:
    """http.md 5: ... but not an endless stream of them."""
    assert refusal(b"\r\n" * 5 + head()) == (400, "malformed request line")
    conn = connection()
    refused = [conn.receive(b"\r\n") for _ in range(5)]
    assert refused[:4] == [[]] * 4
    assert refused[4]


def test_a_bare_newline_before_a_request() -> None:
    """http.md 5, 10: an empty line ends with CRLF."""
    assert refusal(b"\n" + head()) == (400, "bare LF")


@pytest.mark.parametrize("whole", [True, False])
def test_long_request_lines(whole: bool) -> None:
    """http.md 6: past `request_line` bytes: 414, even before the line's end has come."""
    line = b"GET /" + b"a" * 100 + b" HTTP/1.1"
    tail = b"\r\nHost: a\r\n\r\n" if whole else b""
    assert refusal(line + b"\r\n" + tail, request_line=len(line) - 1) == (414, "request line too long")
    [event] = connection(request_line=len(line)).receive(line + b"\r\nHost: a\r\n\r\n")
    assert isinstance(event, Request)


def test_the_preface_of_http2() -> None:
    """http.md 7: `PRI * HTTP/2.0` is refused cleanly."""
    conn = connection()
    [event] = conn.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9)
    assert isinstance(event, BadRequest)
    assert event.status == 505
    assert conn.refuse(event).startswith(b"HTTP/1.1 505 HTTP Version Not Supported\r\n")
    assert conn.receive(b"\x00" * 9) == []


@pytest.mark.parametrize("size", [1, 5, 200])
def test_tls_on_a_plain_port(size: int) -> None:
    """http.md 8: a ClientHello gets a short plain answer at its first byte."""
    hello = (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)))[:size]
    assert refusal(hello) == (400, "this port speaks plain HTTP, not TLS")
    assert refusal(hello + b"\r\n\r\n") == (400, "this port speaks plain HTTP, not TLS")


@pytest.mark.parametrize("byte", [b"\x00", b"\x80", b"\xff", b"{", b" "])
def test_what_is_not_http_is_refused_at_its_first_byte(byte: bytes) -> None:
    """http.md 1: nothing that could become a method: no need to wait for a time-out."""
    assert refusal(byte) == (400, "malformed request line")


# ---- fields


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\n",
    ],
)
def test_lines_end_with_crlf(data: bytes) -> None:
    """http.md 10: LF without CR is refused, as soon as it is seen."""
    assert refusal(data) == (400, "bare LF")


def test_a_bare_cr() -> None:
    """http.md 10: CR without LF is refused."""
    assert refusal(head(b"X: a\rb")) == (400, "control byte in a field value")
    assert refusal(head(b"X: a\r")) == (400, "control byte in a field value")
    assert refusal(head(line=b"GET / HTTP/1.1\r"))[0] == 400


def test_folding_below_the_request_line() -> None:
    """http.md 11: obs-fold is refused, for the first field too."""
    assert refusal(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n") == (400, "obsolete line folding")
    assert refusal(head(b"X: a", b" b")) == (400, "obsolete line folding")


@pytest.mark.parametrize("whole", [True, False])
def test_limits_on_fields(whole: bool) -> None:
    """http.md 14: one field too long, all too long, too many: 431."""
    end = b"\r\n\r\n" if whole else b""
    start = b"GET / HTTP/1.1\r\nHost: a\r\n"
    field = b"X: " + b"a" * 100
    too_large = (431, "header fields too large")
    assert refusal(start + field + b"\r\n" + end, field_size=len(field) - 1) == too_large
    assert refusal(start + (field + b"\r\n") * 5 + end, head=400) == too_large
    if whole:
        assert refusal(start + field + end, fields=1) == (431, "too many header fields")


def test_limits_are_exact() -> None:
    """http.md 14: what just fits passes."""
    field = b"X: " + b"a" * 100
    data = b"GET / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n"
    exact = {"field_size": len(field), "head": len(data) - 4, "fields": 2}
    [event] = connection(**exact).receive(data)
    assert isinstance(event, Request)
    for name, value in exact.items():
        assert refusal(data, **{**exact, name: value - 1})[0] == 431


def test_no_bound_on_one_field_but_on_the_head() -> None:
    """http.md 14: field_size 0 leaves the bound to the whole head."""
    assert request(b"X: " + b"a" * 50000, field_size=0).fields[1].pair[0] == b"x"
    assert refusal(head(b"X: " + b"a" * 70000), field_size=0)[0] == 431


def test_underscores_are_dropped() -> None:
    """http.md 15: by default."""
    names = [field.pair[0] for field in request(b"X_A: 1", b"X-A: 2").fields]
    assert names == [b"host", b"x-a"]


def test_underscores_are_refused_on_demand() -> None:
    """http.md 15: header_map = refuse."""
    assert refusal(head(b"X_A: 1"), underscores=Underscores.REFUSE) == (400, "underscore in a field name")
    assert request(b"X-A: 1", underscores=Underscores.REFUSE).fields[1].pair == (b"x-a", b"1")


def test_underscores_are_kept_on_demand() -> None:
    """http.md 15: header_map = dangerous, and names allowed to trusted peers; dash and underscore stay
    apart.
    """
    kept = request(b"X_A: 1", b"X-A: 2", underscores=Underscores.DANGEROUS).fields[1:]
    assert [field.pair[0] for field in kept] == [b"x_a", b"x-a"]
    for policy in (Underscores.DROP, Underscores.REFUSE):
        allowed = request(
            b"SCRIPT_NAME: /a", underscores=policy, underscore_allowed=frozenset({b"script_name"})
        )
        assert allowed.fields[1].pair == (b"script_name", b"/a")


def test_an_underscored_length_frames_nothing() -> None:
    """http.md 15: Content_Length is not Content-Length even where it is kept."""
    got = request(b"Content_Length: 5", b"Transfer_Encoding: chunked", underscores=Underscores.DANGEROUS)
    assert got.ended
    assert got.length == 0


def test_proxy_has_no_environ_key() -> None:
    """http.md 16: httpoxy; ASGI may see the field, an environ may not."""
    field = request(b"Proxy: http://evil/").fields[1]
    assert field.pair == (b"proxy", b"http://evil/")
    assert field.key == ""


def test_host_once() -> None:
    """http.md 17: exactly one Host in HTTP/1.1, at most one in HTTP/1.0."""
    assert refusal(head(host=None)) == (400, "missing host field")
    assert refusal(head(b"Host: example.com")) == (400, "more than one host field")
    assert refusal(head(b"hOST: b", line=b"GET / HTTP/1.0")) == (400, "more than one host field")
    assert refusal(head(host=None, line=b"GET http://a/ HTTP/1.1")) == (400, "missing host field")
    [event] = connection().receive(head(host=None, line=b"GET / HTTP/1.0"))
    assert isinstance(event, Request)


def test_a_bad_host_is_refused_in_both_versions() -> None:
    """http.md 17: syntax counts in HTTP/1.0 too."""
    for version in (b"1.0", b"1.1"):
        assert refusal(head(host=b"Host: a/b", line=b"GET / HTTP/" + version)) == (400, "bad host")


def test_order_of_fields() -> None:
    """http.md 18: repeated fields keep their order and are not joined."""
    got = request(b"A: 1", b"Cookie: a", b"a: 2", b"cookie: b", b"A:")
    assert [field.pair for field in got.fields[1:]] == [
        *((b"a", b"1"), (b"cookie", b"a"), (b"a", b"2"), (b"cookie", b"b"), (b"a", b"")),
    ]


# ---- framing


@pytest.mark.parametrize("first", [True, False])
def test_both_framings(first: bool) -> None:
    """http.md 19: Transfer-Encoding with Content-Length is refused in either order."""
    lines = [b"Transfer-Encoding: chunked", b"Content-Length: 5"]
    reason = "both transfer-encoding and content-length"
    assert refusal(head(*(lines if first else lines[::-1]), line=b"POST / HTTP/1.1")) == (400, reason)


def test_chunked_in_http10() -> None:
    """http.md 20: Transfer-Encoding in an HTTP/1.0 message is refused."""
    got = refusal(head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"))
    assert got == (400, "transfer-encoding in HTTP/1.0")


def test_repeated_transfer_encoding() -> None:
    """http.md 21: two fields that say chunked are chunked twice."""
    got = refusal(head(b"Transfer-Encoding: chunked", b"transfer-encoding: chunked"))
    assert got == (400, "repeated transfer-encoding")
    assert refusal(head(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"))[0] == 501


@pytest.mark.parametrize("second", [b"5", b"6", b"05"])
def test_repeated_content_length(second: bytes) -> None:
    """http.md 22: repeated Content-Length is refused, identical too."""
    got = refusal(head(b"Content-Length: 5", b"Content-Length: " + second))
    assert got == (400, "repeated content-length")


def test_a_body_over_the_limit() -> None:
    """http.md 23: 413 from the head alone."""
    assert refusal(head(b"Content-Length: 11"), body=10) == (413, "request body too large")
    assert request(b"Content-Length: 10", body=10).length == 10


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"POST", b"PURGE"])
def test_every_method_is_framed_alike(method: bytes) -> None:
    """http.md 31: GET, HEAD and DELETE with a body are framed like any other."""
    got = request(b"Content-Length: 5", line=method + b" / HTTP/1.1")
    assert (got.length, got.chunked, got.ended) == (5, False, False)
    got = request(b"Transfer-Encoding: Chunked", line=method + b" / HTTP/1.1")
    assert (got.length, got.chunked, got.ended) == (-1, True, False)


@pytest.mark.parametrize("fields", [(), (b"Content-Length: 0",), (b"Content-Length: 00",)])
def test_no_body(fields: tuple[bytes, ...]) -> None:
    """http.md 31: without framing fields, or with a length of 0, the request is complete."""
    got = request(*fields, line=b"POST / HTTP/1.1")
    assert (got.length, got.chunked, got.ended) == (0, False, True)


def test_an_old_websocket_key_is_just_a_field() -> None:
    """http.md 31: gunicorn 2955: Sec-WebSocket-Key1 made a body of 8 bytes."""
    assert request(b"Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5").ended


# ---- connection


@pytest.mark.parametrize(
    ("version", "values", "keep_alive"),
    [
        (b"1.1", [], True),
        (b"1.0", [], False),
        (b"1.0", [b"keep-alive"], True),
        (b"1.0", [b"Keep-Alive"], True),
        (b"1.0", [b"x, keep-alive"], True),
        (b"1.0", [b"x, keep-alive-not"], False),
        (b"1.1", [b"keep-alive"], True),
        (b"1.1", [b"close"], False),
        (b"1.1", [b"CLOSE"], False),
        (b"1.1", [b"keep-alive, Close"], False),
        (b"1.1", [b"close\t,keep-alive"], False),
        (b"1.1", [b"keep-alive", b"close"], False),
        (b"1.0", [b"close", b"keep-alive"], False),
        (b"1.1", [b"closed"], True),
        (b"1.1", [b""], True),
    ],
)
def test_persistence(version: bytes, values: list[bytes], keep_alive: bool) -> None:
    """http.md 33: persistent by default in 1.1, by keep-alive in 1.0; close wins in any case and position."""
    got = request(*(b"Connection: " + value for value in values), line=b"GET / HTTP/" + version)
    assert got.keep_alive is keep_alive


def test_expectations() -> None:
    """http.md 38: 100-continue in any case; others 417; ignored in HTTP/1.0 and without a body."""
    body = b"Content-Length: 5"
    assert request(b"Expect: 100-Continue", body).expect_continue
    assert not request(b"Expect: 100-continue").expect_continue
    assert not request(b"Expect: 100-continue", body, line=b"POST / HTTP/1.0").expect_continue
    assert not request(b"Expect: whatever", body, line=b"POST / HTTP/1.0").expect_continue
    for value in (b"200-ok", b"", b"100-continue, x", b"100-continue;a=b"):
        assert refusal(head(b"Expect: " + value, body)) == (417, "unknown expectation")


def test_upgrades() -> None:
    """http.md 39: Upgrade counts when Connection names it, in HTTP/1.1; h2c is only a word."""
    assert request(b"Connection: Upgrade", b"Upgrade: WebSocket").upgrade == b"websocket"
    assert request(b"Connection: keep-alive, upgrade", b"Upgrade: a", b"Upgrade: b").upgrade == b"a, b"
    assert request(b"Upgrade: websocket").upgrade == b""
    assert request(b"Connection: upgrade", b"Upgrade: websocket", line=b"GET / HTTP/1.0").upgrade == b""
    h2c = request(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
    assert (h2c.upgrade, h2c.ended, h2c.keep_alive) == (b"h2c", True, True)


def test_forwarding_fields_are_noticed() -> None:
    """http.md 49: a request says whether it is worth asking who the client is."""
    assert request(b"X-Forwarded-For: 1.2.3.4").forwarded
    assert request(b"forwarded: for=1.2.3.4").forwarded
    assert not request(b"X-Real-IP: 1.2.3.4").forwarded
