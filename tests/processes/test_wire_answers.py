"""Answers as bytes on a socket: whatever the application yields, the wire has good HTTP or a visible break.

The application answers to order (`apps/probe`); the client (`client`) accepts nothing that RFC 9112 does not.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.client import Answer, Client, Cut
from tests.processes.server import Server

Serve = Callable[..., Server]
APPS = {"sync": "probe_wsgi", "threaded": "probe_wsgi", "asgi": "probe_asgi"}


def words(kind: str, *options: str) -> list[str]:
    threads = ["--threads", "4"] if kind == "threaded" else []
    return ["-k", kind, "-w", "1", *threads, *options, f"{APPS[kind]}:application"]


@pytest.fixture(scope="module", params=list(APPS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp(request.param), *words(request.param)) as running:
        running.kind = request.param  # type: ignore[attr-defined]
        yield running


def wsgi(server: Server) -> bool:
    return server.kind != "asgi"  # type: ignore[attr-defined]


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client((server.host, server.port)) as connected:
        yield connected


def wish(method: str = "GET", version: str = "1.1", fields: str = "", **order: Any) -> bytes:
    target = "/order?" + urllib.parse.quote(json.dumps(order), safe="")
    return f"{method} {target} HTTP/{version}\r\nHost: test\r\n{fields}\r\n".encode()


def goes_on(client: Client) -> bool:
    """The connection serves another request."""
    return client.get("/x").body == b"ok"


# ---------------------------------------------------------------------- framing


@pytest.mark.parametrize("headers", [[], [["Content-Length", "6"]]], ids=["unsized", "sized"])
@pytest.mark.parametrize("parts", [[], ["abc", "def"], ["abc", "", "def"]], ids=["empty", "two", "holed"])
def test_head_has_the_fields_of_get_and_no_body(
    client: Client, headers: list[list[str]], parts: list[str]
) -> None:
    """http.md 41, asgi.md 35, wsgi.md 45: whatever the application yields."""
    if not parts and headers:
        pytest.skip("a promise of six bytes that is not kept is another test's")
    client.send(wish("HEAD", headers=headers, parts=parts))
    answer = client.answer("HEAD")
    assert answer.status == 200
    assert goes_on(client)
    got = client.send(wish("GET", headers=headers, parts=parts)).answer()
    assert got.body == "".join(parts).encode()
    assert answer.get("content-length") in (got.get("content-length"), None)
    if headers:
        assert answer.get("content-length") == "6"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("parts", [[], ["xx"], ["xx", "yy"]], ids=["empty", "one", "two"])
def test_no_body_where_there_can_be_none(client: Client, status: int, parts: list[str]) -> None:
    """http.md 41, asgi.md 36, wsgi.md 44: no byte of it, and the next answer is where it should be."""
    answer = client.send(wish(status=status, parts=parts)).answer()
    assert answer.status == status
    assert answer.all("transfer-encoding") == []
    if status == 204:
        assert answer.all("content-length") == []
    assert goes_on(client)


def test_one_framing(client: Client) -> None:
    """http.md 42, asgi.md 33, wsgi.md 42: chunks in 1.1 where the length is not known, else the length."""
    answer = client.send(wish(parts=["abc", "def"])).answer()
    assert (answer.get("transfer-encoding"), answer.get("content-length"), answer.body) == (
        "chunked",
        None,
        b"abcdef",
    )
    answer = client.send(wish(headers=[["Content-Length", "6"]], parts=["abc", "def"])).answer()
    assert (answer.get("transfer-encoding"), answer.get("content-length"), answer.body) == (
        None,
        "6",
        b"abcdef",
    )
    assert goes_on(client)


def test_http_1_0_is_delimited_by_the_end(client: Client) -> None:
    """http.md 42, asgi.md 33: no Transfer-Encoding for a client that does not know it."""
    answer = client.send(
        wish(version="1.0", fields="Connection: keep-alive\r\n", parts=["abc", "def"])
    ).answer()
    assert answer.all("transfer-encoding") == answer.all("content-length") == []
    assert (answer.get("connection") or "close").lower() == "close"
    assert answer.body == b"abcdef"


HOP_BY_HOP = [
    ["Transfer-Encoding", "chunked"],
    ["transfer-encoding", "gzip"],
    ["Keep-Alive", "timeout=1000"],
    ["Upgrade", "h2c"],
    ["TE", "trailers"],
    ["Proxy-Connection", "keep-alive"],
    ["Connection", "upgrade, x-secret"],
]


@pytest.mark.parametrize("field", HOP_BY_HOP, ids=lambda field: ":".join(field))
@pytest.mark.parametrize("sized", [True, False])
def test_hop_by_hop_fields_are_the_servers(client: Client, field: list[str], sized: bool) -> None:
    """http.md 42, asgi.md 34, wsgi.md 39: what the application says of framing is not sent as it is."""
    headers = [field, ["Content-Length", "3"]] if sized else [field]
    answer = client.send(wish(headers=headers, parts=["abc"])).answer()
    if answer.status == 500:  # to refuse it is right, too
        return
    assert answer.body == b"abc"
    assert field[1] not in answer.all(field[0].lower()) or (field[1] == "chunked" and not sized)
    assert goes_on(client)


def test_the_applications_close_is_kept(client: Client) -> None:
    """http.md 33, asgi.md 50: it is said, and done."""
    answer = client.send(
        wish(headers=[["Connection", "close"], ["Content-Length", "3"]], parts=["abc"])
    ).answer()
    assert answer.closes
    assert client.rest() == b""


@pytest.mark.parametrize("parts", [["abcdef"], ["abc", "def"], ["ab", "cdef"]], ids="-".join)
def test_more_than_the_length_is_never_sent(client: Client, parts: list[str]) -> None:
    """http.md 43, asgi.md 37, wsgi.md 43: excess is not the beginning of another answer."""
    client.send(
        wish(headers=[["Content-Length", "3"]], parts=parts) + b"GET /x HTTP/1.1\r\nHost: test\r\n\r\n"
    )
    statuses, rest = [], b""
    try:
        answer = client.answer()
        assert answer.status == 500 or answer.body == b"abc"
        statuses = [answer.status, client.answer().status]
    except Cut as cut:
        rest = cut.data
    assert statuses in ([], [200, 200])
    assert rest in (b"", b"ab")


def test_less_than_the_length_is_a_visible_break(client: Client) -> None:
    """http.md 43, asgi.md 38, wsgi.md 43: the client is not left waiting for the rest."""
    client.send(wish(headers=[["Content-Length", "10"]], parts=["abc"]))
    try:
        assert client.answer().status == 500
    except Cut:
        pass
    assert client.closed()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("sized", [True, False])
def test_an_error_after_the_start_breaks_the_connection(client: Client, version: str, sized: bool) -> None:
    """http.md 47, asgi.md 46, wsgi.md 37: what was sent cannot be taken for the whole."""
    headers = [["Content-Length", "600000"]] if sized else []
    client.send(wish(version=version, headers=headers, parts=["abc"] * 2, times=50000, fail="after"))
    with pytest.raises(Cut):
        client.answer()


def test_an_error_before_the_start_is_a_500(server: Server, client: Client) -> None:
    """http.md 48, asgi.md 46: small, typed, without internals; one record with the traceback."""
    mark = server.mark()
    answer = client.send(wish(fail="before")).answer()
    assert answer.status == 500
    assert (answer.get("content-type") or "").startswith("text/plain")
    assert b"Deliberate" not in answer.body and b"before the parts" not in answer.body
    server.log.wait("Deliberate: before the parts", since=mark)
    with Client((server.host, server.port)) as other:
        assert goes_on(other)
    assert server.log.count("Deliberate: before the parts") == 1


# ---------------------------------------------------------------------- heads


BAD_FIELDS = [
    ["X", "a\r\nInjected: yes"],
    ["X", "a\nInjected: yes"],
    ["X", "a\rb"],
    ["X", "a\x00b"],
    ["X\r\nInjected: yes", "a"],
    ["X Y", "a"],
    ["X:", "a"],
    ["", "a"],
    ["X\x00", "a"],
    ["X\xe9", "a"],
    ["Content-Length", "three"],
    ["Content-Length", "-3"],
    ["Content-Length", "+3"],
]


@pytest.mark.parametrize("field", BAD_FIELDS, ids=repr)
def test_bad_fields_never_reach_the_wire(server: Server, client: Client, field: list[str]) -> None:
    """http.md 45, asgi.md 40, wsgi.md 38: a 500 and a record; nothing of it is sent."""
    mark = server.mark()
    answer = client.send(wish(headers=[field], parts=["abc"])).answer()
    assert answer.status == 500
    assert answer.all("injected") == answer.all("x") == []
    server.log.wait("ResponseError", since=mark)


@pytest.mark.parametrize("status", [99, 1000, 0, -200])
def test_bad_statuses_never_reach_the_wire(client: Client, status: int) -> None:
    """http.md 44: three digits, 100 to 999."""
    assert client.send(wish(status=status)).answer().status == 500


BAD_STATUS_LINES = [
    "abc",
    "200OK",
    "20 OK",
    "200 OK\r\nInjected: yes",
    "200 a\nb",
    "200 a\x00b",
    " 200 OK",
    "",
    "2000 OK",
]


@pytest.mark.parametrize("status", BAD_STATUS_LINES, ids=repr)
def test_bad_status_lines_never_reach_the_wire(server: Server, client: Client, status: str) -> None:
    """http.md 44, 45, wsgi.md 38: control bytes and what is no status."""
    answer = client.send(wish(status=status)).answer()
    assert answer.status == 500
    assert answer.all("injected") == []


def test_every_status_has_a_reason(server: Server, client: Client) -> None:
    """http.md 44, wsgi.md 40: the application's own, the registered one, or some; never an empty one."""
    for status in (200, 226, 299, 418, 451, 599, 799, 999):
        answer = client.send(wish(status=status, headers=[["Content-Length", "0"]], parts=[])).answer()
        assert answer.status == status
        assert answer.reason.strip()
        if wsgi(server):
            assert answer.reason == "Made to order"


def test_date_and_server(client: Client) -> None:
    """http.md 46, asgi.md 52: once each, and the application's word counts."""
    answer = client.send(wish(headers=[["Content-Length", "0"]], parts=[])).answer()
    assert answer.get("date") is not None
    assert answer.get("server") == "arbiter"
    theirs = [["Date", "Thu, 01 Jan 1970 00:00:00 GMT"], ["Server", "theirs"], ["Content-Length", "0"]]
    answer = client.send(wish(headers=theirs, parts=[])).answer()
    assert answer.get("date") == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert answer.get("server") == "theirs"


def test_order_and_repetition_are_kept(client: Client) -> None:
    """asgi.md 39, wsgi.md 41: two cookies are two fields; latin-1 comes out as it went in."""
    fields = [
        ["X-B", "1"],
        ["Set-Cookie", "a=1"],
        ["X-A", "\xe9"],
        ["Set-Cookie", "b=2"],
        ["Content-Length", "0"],
    ]
    answer = client.send(wish(headers=fields, parts=[])).answer()
    assert answer.all("set-cookie") == ["a=1", "b=2"]
    names = [name.lower() for name, _ in answer.fields if name.lower() in ("x-a", "x-b", "set-cookie")]
    assert names == ["x-b", "set-cookie", "x-a", "set-cookie"]
    assert answer.get("x-a") == "\xe9"


# ---------------------------------------------------------------------- peers

CLAIMS = (
    *("X-Forwarded-For: 192.0.2.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test"),
    *("X-Forwarded-Port: 1", "X-Forwarded-Prefix: /evil", "Forwarded: for=192.0.2.8;proto=https"),
)


def test_strangers_are_not_believed(serve: Serve, kind: str) -> None:
    """http.md 49: what they claim stays a plain field."""
    server = serve(*words(kind, "--forwarded-allow-ips", "192.0.2.1"))
    with Client((server.host, server.port)) as client:
        told = json.loads(client.get("/seen", *CLAIMS).body)
    assert (told["client"], told["scheme"], told["path"]) == ("127.0.0.1", "http", "/seen")
    assert told["fields"]["host"] == "test"
    assert told["fields"]["x-forwarded-for"] == "192.0.2.9"


def test_a_trusted_proxy_is_believed_from_the_right(serve: Serve, kind: str) -> None:
    """http.md 49: over the trusted hops, to the first that is not."""
    server = serve(*words(kind, "--forwarded-allow-ips", "127.0.0.1,192.0.2.0/24"))
    claims = ("X-Forwarded-For: 198.51.100.1, 203.0.113.7, 192.0.2.9", "X-Forwarded-Proto: https")
    with Client((server.host, server.port)) as client:
        told = json.loads(client.get("/seen", *claims).body)
    assert (told["client"], told["scheme"]) == ("203.0.113.7", "https")


def test_the_proxy_protocol_where_it_is_required(serve: Serve, kind: str) -> None:
    """http.md 50: it counts, its absence and its malformation close the connection."""
    server = serve(*words(kind, "--proxy-protocol", "v1", "--forwarded-allow-ips", ""))
    request = b"GET /seen HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"

    def said(data: bytes) -> Answer | None:
        with Client((server.host, server.port)) as client:
            client.send(data)
            try:
                return client.answer()
            except Cut as cut:
                data = cut.data
        assert data == b""
        return None

    answer = said(b"PROXY TCP4 203.0.113.7 127.0.0.1 1234 80\r\n" + request)
    assert answer is not None
    assert json.loads(answer.body)["client"] == "203.0.113.7"
    for header in (b"", b"PROXY TCP4 x y 1 2\r\n", b"PROXY\r\n", b"PROXY TCP4 " + b"1" * 200 + b"\r\n"):
        assert said(header + request) is None, header


def test_a_client_on_a_unix_socket(serve: Serve, kind: str, tmp_path: Path) -> None:
    """http.md 51, asgi.md 14, wsgi.md 14: None under ASGI, "" under WSGI, and what a proxy says of it."""
    serve(*words(kind), bind=f"unix:{tmp_path}/s")
    with Client(f"{tmp_path}/s") as client:
        assert json.loads(client.get("/seen").body)["client"] == ""
        told = json.loads(
            client.get("/seen", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https").body
        )
        assert (told["client"], told["scheme"]) == ("203.0.113.7", "https")
