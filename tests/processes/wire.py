"""Requests, byte by byte, each with what must become of it: the tables of test_wire.

The name of a case begins with the statements of docs/conformance.md that it proves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def head(
    *fields: str | bytes, line: str | bytes = "GET /seen HTTP/1.1", host: str | None = "Host: test"
) -> bytes:
    lines = [line, *([host] if host is not None else []), *fields, "", ""]
    return b"\r\n".join(one if isinstance(one, bytes) else one.encode("latin-1") for one in lines)


def post(*fields: str | bytes, body: str | bytes = b"") -> bytes:
    data = body if isinstance(body, bytes) else body.encode("latin-1")
    return head(*fields, line="POST /seen HTTP/1.1") + data


def chunked(body: str | bytes) -> bytes:
    return post("Transfer-Encoding: chunked", body=body)


# ---------------------------------------------------------------------- what is refused

BAD = (400,)


@dataclass(frozen=True)
class Refused:
    name: str
    wire: bytes
    statuses: tuple[int, ...] = BAD

    def __str__(self) -> str:
        return self.name


def lines(statement: str, *request_lines: str | bytes, statuses: tuple[int, ...] = BAD) -> list[Refused]:
    return [Refused(f"{statement} {line!r:.60}", head(line=line), statuses) for line in request_lines]


def fields(statement: str, *field_lines: str | bytes, statuses: tuple[int, ...] = BAD) -> list[Refused]:
    return [Refused(f"{statement} {line!r:.60}", head(line), statuses) for line in field_lines]


def bodies(statement: str, *wires: bytes, statuses: tuple[int, ...] = BAD) -> list[Refused]:
    return [Refused(f"{statement} {wire.partition(CRLF2)[2]!r:.60}", wire, statuses) for wire in wires]


CRLF2 = b"\r\n\r\n"
GREASE = [f"{name} / HTTP/1.1" for name in ("G(T", "G@T", "GET\x00", "G\x7fT", "G\xe9T", '"GET"', "")]

REQUEST_LINES = [
    *lines("http.md 1", *GREASE),
    *lines(
        "http.md 2",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/ HTTP/1.1",
    ),
    *lines(
        "http.md 2",
        "GET /\tHTTP/1.1",
        "GET /\x0bHTTP/1.1",
        "GET / a HTTP/1.1",
        "GET HTTP/1.1",
        "GET",
        "GET/HTTP/1.1",
    ),
    *lines(
        "http.md 3",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/3.0",
        "GET / HTTP/9.9",
        statuses=(505, 400),
    ),
    *lines(
        "http.md 3", "GET / HTTP/1", "GET / HTTP/1.", "GET / HTTP/1.10", "GET / HTTP/01.1", "GET / HTTP/1.1a"
    ),
    *lines(
        "http.md 3",
        "GET / http/1.1",
        "GET / HTTP 1.1",
        "GET / HTTP/+1.1",
        "GET / HTTPS/1.1",
        "GET / HTTP/1.\xb2",
    ),
    *lines("http.md 3", "GET / HTTP/0.9", statuses=(505, 400)),
    Refused("http.md 3 a simple request", b"GET /\r\n"),
    *lines("http.md 4", "GET /#f HTTP/1.1", "GET /\x00 HTTP/1.1", "GET /\x1f HTTP/1.1", "GET /\x7f HTTP/1.1"),
    *lines(
        "http.md 4",
        "GET * HTTP/1.1",
        "POST * HTTP/1.1",
        "GET a HTTP/1.1",
        "GET test:80 HTTP/1.1",
        "GET ?a HTTP/1.1",
    ),
    *lines("http.md 4", "GET http:// HTTP/1.1", "GET http:///a HTTP/1.1", "GET ftp://test/ HTTP/1.1"),
    *lines("http.md 4", "GET http://a b/ HTTP/1.1", "GET http://u@h/ HTTP/1.1", "OPTIONS *a HTTP/1.1"),
    *lines(
        "http.md 4 asgi.md 67", "CONNECT test:443 HTTP/1.1", "CONNECT / HTTP/1.1", statuses=(400, 405, 501)
    ),
    Refused("http.md 5 many empty lines", b"\r\n" * 100 + head()),
    *lines(
        "http.md 6 asgi.md 68", "GET /" + "a" * 200 + " HTTP/1.1", "G" * 300 + " / HTTP/1.1", statuses=(414,)
    ),
    Refused("http.md 6 without an end", b"GET /" + b"a" * 300, (414,)),
    Refused("http.md 7 the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    Refused("http.md 8 asgi.md 69 a ClientHello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
]

FIELDS = [
    *fields(
        "http.md 9", "A : b", "A\t: b", "A b: c", "A(: b", "A\x80: b", "A", "A\x00: b", '"A": b', "A\r: b"
    ),
    *fields(
        "http.md 10", ": b", "A: \x00", "A: b\x00c", "A: b\rc", "A: b\nc", "A: b\x01", "A: \x7f", "A: \x1b[0m"
    ),
    Refused("http.md 10 asgi.md 63 only LF", b"GET /seen HTTP/1.1\nHost: test\n\n"),
    Refused("http.md 10 one LF among CRLFs", b"GET /seen HTTP/1.1\r\nHost: test\nA: b\r\n\r\n"),
    Refused("http.md 10 LF LF at the end", b"GET /seen HTTP/1.1\r\nHost: test\r\n\n"),
    *fields("http.md 11", "A: b\r\n c", "A: b\r\n\tc", "A:\r\n b"),
    Refused("http.md 11 in the first line", b"GET /seen HTTP/1.1\r\n Host: test\r\n\r\n"),
    *fields(
        "http.md 12",
        "Content-Length:\x0b5",
        "Content-Length: 5\x0c",
        "Content-Length: \xa05",
        "Content-Length: 5\x85",
    ),
    *fields("http.md 14 asgi.md 68", "A: " + "a" * 300, statuses=(431,)),
    Refused("http.md 14 their number", head(*["A: b"] * 20), (431,)),
    Refused("http.md 14 all together", head(*["A: " + "a" * 250] * 4), (431,)),
    Refused("http.md 14 a field without an end", head()[:-2] + b"A: " + b"a" * 400, (431,)),
    Refused("http.md 17 asgi.md 64 none", head(host=None)),
    Refused("http.md 17 two", head("Host: test")),
    Refused("http.md 17 two, one empty", head("Host:")),
    *[
        Refused(f"http.md 17 {host!r}", head(host=f"Host: {host}"))
        for host in (
            "a b",
            "a/b",
            "a@b",
            "a:b",
            "a:1:2",
            "[::1",
            "::1",
            "\xe9",
            "a\\b",
            "a:999999",
            "%zz",
            "a?",
            "[v]",
        )
    ],
    *fields("http.md 38", "Expect: 200-ok\r\nContent-Length: 1", statuses=(417,)),
]

FRAMING = [
    *bodies(
        "http.md 19 asgi.md 58",
        post("Content-Length: 5", "Transfer-Encoding: chunked", body="0\r\n\r\n"),
        post("Transfer-Encoding: chunked", "Content-Length: 0", body="0\r\n\r\n"),
        post("Transfer-Encoding: identity", "Content-Length: 5", body="hello"),
        statuses=(400, 501),
    ),
    Refused(
        "http.md 20 asgi.md 61",
        head("Transfer-Encoding: chunked", line="POST /seen HTTP/1.0") + b"0\r\n\r\n",
    ),
    *[
        Refused(
            f"http.md 21 asgi.md 61 {coding!r}",
            post(f"Transfer-Encoding: {coding}", body="0\r\n\r\n"),
            (400, 501),
        )
        for coding in (
            *(
                "gzip",
                "identity",
                "xchunked",
                "chunkedx",
                "chunked, gzip",
                "gzip, chunked",
                "chunked, chunked",
            ),
            *(
                "chunked;a=b",
                '"chunked"',
                "chunked,",
                ",chunked",
                "",
                "chun ked",
                "\x0bchunked",
                "chunked\x0c",
                "'chunked'",
            ),
            *("chunked\x00", "chu\rnked", "chunked\xa0", "identity, chunked", "chunked identity", "nothing"),
        )
    ],
    Refused(
        "http.md 21 twice", post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body="0\r\n\r\n")
    ),
    Refused(
        "http.md 21 and another",
        post("Transfer-Encoding: chunked", "Transfer-Encoding: x", body="0\r\n\r\n"),
        (400, 501),
    ),
    *[
        Refused(
            f"http.md 22 asgi.md 59 asgi.md 60 {length!r}", post(f"Content-Length: {length}", body="hello")
        )
        for length in (
            *(
                "+5",
                "-5",
                "5 5",
                "0x5",
                "5,6",
                "5, 6",
                "",
                "5.0",
                "5e0",
                "five",
                "\xb2",
                "5;",
                "5_0",
                "'5'",
                "-0",
                "5,5,",
                "1 " * 3,
            ),
        )
    ],
    Refused("http.md 22 two, different", post("Content-Length: 5", "Content-Length: 6", body="hello")),
    *[
        Refused(f"http.md 23 {length}", post(f"Content-Length: {length}"), (400, 413))
        for length in ("9" * 18, "18446744073709551621", "9" * 60, "9" * 250, "5001")
    ],
    *[
        Refused(f"http.md 24 asgi.md 65 {size!r}", chunked(f"{size}\r\nhello\r\n0\r\n\r\n"))
        for size in (
            *("+5", "-5", "0x5", "5_0", " 5", "5 ", "5\t", "", "g", "\xb2", "5\x0b", "5\x00", "'5'", "5,5"),
            *("00000000000000005", "1" + "0" * 16, "f" * 17, "5 5", "\t5", "5\r", "\n5"),
        )
    ],
    *bodies("http.md 23", chunked("1389\r\n" + "a" * 5001 + "\r\n0\r\n\r\n"), statuses=(413,)),
    *bodies(
        "http.md 25",
        chunked("5;a=" + "b" * 100 + "\r\nhello\r\n0\r\n\r\n"),
        chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"),
        chunked("5;a\nhello\r\n0\r\n\r\n"),
        chunked("5;a=\x00\r\nhello\r\n0\r\n\r\n"),
        chunked("5;a=b" + "c" * 100),
        chunked("5\nhello\r\n0\r\n\r\n"),
    ),
    *bodies(
        "http.md 26 asgi.md 65",
        chunked("5\r\nhelloXX0\r\n\r\n"),
        chunked("5\r\nhello\n0\r\n\r\n"),
        chunked("5\r\nhello0\r\n\r\n"),
        chunked("5\r\nhello!\r\n0\r\n\r\n"),
        chunked("5\r\nhello\r0\r\n\r\n"),
    ),
    *bodies(
        "http.md 27",
        chunked("0\r\nA : b\r\n\r\n"),
        chunked("0\r\nA: b\x00\r\n\r\n"),
        chunked("0\r\nA: b\nC: d\r\n\r\n"),
        chunked("0\r\n b\r\n\r\n"),
        chunked("0\r\nno colon\r\n\r\n"),
        chunked("0\r\nContent-Length: 5\r\n\r\n"),
        chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        chunked("0\r\n\n"),
        chunked("0\r\n" + "A: b\r\n" * 30 + "\r\n"),
        chunked("0\r\nA: " + "b" * 400 + "\r\n\r\n"),
        statuses=(400, 431),
    ),
]

REFUSED = [*REQUEST_LINES, *FIELDS, *FRAMING]


# ---------------------------------------------------------------------- what gets through


@dataclass(frozen=True)
class Passes:
    name: str
    wire: bytes
    seen: dict[str, Any]
    """What the application must have been given; of `fields` only those named, None: must be absent."""

    def __str__(self) -> str:
        return self.name


def field_is(name: str, *field_lines: str, statement: str, **values: str | None) -> Passes:
    return Passes(
        f"{statement} {name}",
        head(*field_lines),
        {"fields": {k.replace("_", "-"): v for k, v in values.items()}},
    )


PASSES = [
    *[
        Passes(f"http.md 1 asgi.md 5 {method}", head(line=f"{method} /seen HTTP/1.1"), {"method": method})
        for method in ("PURGE", "MKCOL", "X-1!", "M-SEARCH", "QUERY", "PRI")
    ],
    Passes(
        "http.md 4 absolute-form asgi.md 67",
        head(line="GET http://other:81/seen?a HTTP/1.1"),
        {
            "path": "/seen",
            "query": "a",
            "fields": {"host": "other:81"},
        },
    ),
    Passes("http.md 4 raw bytes pass", head(line="GET /seen?\xe9 HTTP/1.1"), {"query": "\xe9"}),
    Passes("http.md 5 an empty line before", b"\r\n" + head(), {"method": "GET"}),
    Passes(
        "asgi.md 8, 9 raw path",
        head(line="GET /s%65en?a=%20&b?c HTTP/1.1"),
        {
            "path": "/seen",
            "raw": "/s%65en?a=%20&b?c",
            "query": "a=%20&b?c",
        },
    ),
    field_is("OWS", "A:b", "B:  \t b \t", "C:", statement="http.md 12", a="b", b="b", c=""),
    field_is("not OWS", "A: \xa0b\x85", statement="http.md 12", a="\xa0b\x85"),
    field_is("obs-text", "A: b\xe9\xff\x80", statement="http.md 13 wsgi.md 12", a="b\xe9\xff\x80"),
    field_is("underscore", "X_User: evil", "X-User: good", statement="http.md 15 asgi.md 70", x_user="good"),
    field_is("only underscore", "X_User: evil", statement="http.md 15 wsgi.md 11", x_user=None),
    field_is("cookies", "Cookie: a=1", "Cookie: b=2", statement="http.md 18 wsgi.md 10", cookie="a=1; b=2"),
    field_is("repeated", "A: 1", "A: 2", statement="http.md 18 wsgi.md 10", a="1,2"),
    Passes(
        "http.md 17 empty in 1.0",
        head(line="GET /seen HTTP/1.0", host=None),
        {"version": "1.0", "fields": {"host": None}},
    ),
    Passes("http.md 17 [v6]:port", head(host="Host: [::1]:8000"), {"fields": {"host": "[::1]:8000"}}),
    Passes("http.md 17 empty", head(host="Host:"), {"fields": {"host": ""}}),
    Passes(
        "http.md 21 Chunked",
        post("Transfer-Encoding: Chunked", body="5\r\nhello\r\n0\r\n\r\n"),
        {"body": "hello"},
    ),
    Passes(
        "http.md 21 OWS",
        post("Transfer-Encoding:\tchunked ", body="5\r\nhello\r\n0\r\n\r\n"),
        {"body": "hello"},
    ),
    Passes("http.md 22 zeros", post("Content-Length: 0005", body="hello"), {"body": "hello"}),
    Passes("http.md 24 zeros", chunked("0005\r\nhello\r\n000\r\n\r\n"), {"body": "hello"}),
    Passes(
        "http.md 24 case",
        chunked("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
        {"body": "0123456789" * 2},
    ),
    Passes(
        "http.md 25 extensions", chunked('5;a;b=c ; d="e;\\"f"\r\nhello\r\n0;g\r\n\r\n'), {"body": "hello"}
    ),
    Passes(
        "http.md 27 asgi.md 21 trailers",
        chunked(
            "5\r\nhello\r\n0\r\nA: b\r\nAuthorization: evil\r\nCookie: evil\r\nX-Forwarded-For: evil\r\n\r\n"
        ),
        {
            "body": "hello",
            "fields": {"a": None, "authorization": None, "cookie": None, "x-forwarded-for": None},
        },
    ),
    *[
        Passes(
            f"http.md 31 {method}",
            head("Content-Length: 5", line=f"{method} /seen HTTP/1.1") + b"hello",
            {"method": method, "body": "hello"},
        )
        for method in ("GET", "DELETE", "OPTIONS", "PUT")
    ],
    Passes("http.md 38 Expect in 1.0", head("Expect: x", line="GET /seen HTTP/1.0"), {"version": "1.0"}),
    Passes(
        "http.md 39 h2c",
        head("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAAA"),
        {},
    ),
    Passes("http.md 39 unknown", head("Connection: upgrade", "Upgrade: x/1"), {}),
]
