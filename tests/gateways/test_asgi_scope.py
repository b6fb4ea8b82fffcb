"""Scopes, as the pure functions that make them."""

from __future__ import annotations

import pytest

from arbiter.gateways.asgi_scope import (
    NO_ROOT,
    RootPath,
    Scope,
    address,
    connection_base,
    http_scope,
    set_origin,
    websocket_scope,
)
from arbiter.protocols.events import Request
from arbiter.protocols.http1.connection import Http1Connection, ResponseDefaults
from arbiter.protocols.limits import Limits
from arbiter.protocols.peer.forwarded import Origin

BASE = connection_base(("10.0.0.9", 4711), ("10.0.0.1", 80), "http")


def parsed(head: bytes) -> Request:
    (request,) = Http1Connection(Limits(), ResponseDefaults()).receive(head)
    assert isinstance(request, Request)
    return request


def scope_of(
    target: str, headers: str = "", version: str = "1.1", method: str = "GET", root: str = ""
) -> Scope:
    request = parsed(f"{method} {target} HTTP/{version}\r\nHost: a\r\n{headers}\r\n".encode("latin-1"))
    return http_scope(BASE, request, RootPath(root) if root else NO_ROOT, {})


def test_type_and_versions() -> None:
    """asgi.md 1, 2, 4."""
    scope = scope_of("/")
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert scope["http_version"] == "1.1"
    assert scope_of("/", version="1.0")["http_version"] == "1.0"


def test_everything_mutable_is_made_anew() -> None:
    """asgi.md 3, 17: nothing one request does to its scope is seen by the next."""
    state = {"pool": []}
    request = parsed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    one = http_scope(BASE, request, NO_ROOT, state)
    two = http_scope(BASE, request, NO_ROOT, state)
    for name in ("asgi", "extensions", "headers", "state"):
        assert one[name] == two[name]
        assert one[name] is not two[name]
    for description in one["extensions"].values():
        assert description == {}
        with pytest.raises(TypeError):
            description["x"] = 1
    one["state"]["pool"].append(1)
    one["state"]["mine"] = 1
    assert two["state"] == {"pool": [1]}
    assert "mine" not in state


def test_a_request_that_comes_again_and_again() -> None:
    """asgi.md 3, 17: it has a scope of its own each time, under the root of this time."""
    conn = Http1Connection(Limits(), ResponseDefaults())
    state = {"pool": 1}
    for turn in range(16):
        target = "/a%20b?c" if turn % 5 else "/other"
        [request] = conn.receive(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert isinstance(request, Request)
        scope = http_scope(BASE, request, RootPath("/mounted") if turn % 3 else NO_ROOT, state)
        assert scope == scope_of(target, root="/mounted" if turn % 3 else "") | {"state": state}
        for name in ("asgi", "extensions", "state"):
            scope[name]["mine"] = turn
        scope["headers"].clear()
        scope["path"] = scope["mine"] = "changed"
        conn.respond(200, [])
        conn.body(b"", False)
        assert conn.next_request() == []
    assert request.kept is not None


def test_method() -> None:
    """asgi.md 5: unknown methods pass, lower case is folded."""
    assert scope_of("/", method="PURGE")["method"] == "PURGE"
    assert scope_of("/", method="get")["method"] == "GET"


def test_path() -> None:
    """asgi.md 7, 8, 9: decoded path, untouched raw path, query apart."""
    scope = scope_of("/caf%C3%A9/%2F?q=%20?&x")
    assert scope["path"] == "/café//"
    assert scope["raw_path"] == b"/caf%C3%A9/%2F"
    assert scope["query_string"] == b"q=%20?&x"
    assert scope_of("/%ff")["path"] == "/\ufffd"
    assert scope_of("/\xc3\xa9")["path"] == "/é"
    assert scope_of("/")["query_string"] == b""


def test_absolute_form() -> None:
    """asgi.md 67: the URI's path and Host."""
    scope = scope_of("http://b.example/x?y")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/x", b"/x", b"y")
    assert (b"host", b"b.example") in scope["headers"]


@pytest.mark.parametrize(
    ("root", "target", "path"),
    [
        ("/app", "/x", "/app/x"),
        ("/app/", "/x", "/app/x"),
        ("app", "/x", "/app/x"),
        ("/app", "/app/x", "/app/x"),
        ("/app", "/app", "/app"),
        ("/app", "/apple", "/app/apple"),
        ("/a/b", "/", "/a/b/"),
        ("", "/x", "/x"),
    ],
)
def test_root_path(root: str, target: str, path: str) -> None:
    """asgi.md 10, 11, Django 6: path and raw_path carry the prefix, once, by whole segments."""
    scope = scope_of(target, root=root)
    assert scope["root_path"] == ("/" + root.strip("/") if root else "")
    assert scope["path"] == path
    assert scope["raw_path"] == path.encode()


def test_headers() -> None:
    """asgi.md 12: lower-cased names; order, duplicates and both cookie lines kept."""
    scope = scope_of("/", "X-A: 1\r\nCookie: a=1\r\nx-a: 2\r\nCookie: b=2\r\n")
    assert scope["headers"] == [
        (b"host", b"a"),
        (b"x-a", b"1"),
        (b"cookie", b"a=1"),
        (b"x-a", b"2"),
        (b"cookie", b"b=2"),
    ]


def test_underscores_are_dropped() -> None:
    """asgi.md 70."""
    assert scope_of("/", "X_A: 1\r\n")["headers"] == [(b"host", b"a")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("1.2.3.4", 80), ("1.2.3.4", 80)),
        (("fe80::1%eth0", 80, 0, 3), ("fe80::1", 80)),
        (("::ffff:1.2.3.4", 80, 0, 0), ("1.2.3.4", 80)),
        ("/run/x.sock", ("/run/x.sock", None)),
        (b"\0abstract", ("\0abstract", None)),
        ("", None),
        (None, None),
    ],
)
def test_addresses(name: object, expected: object) -> None:
    """asgi.md 14, 15, 16."""
    assert address(name) == expected


def test_extensions_of_1_0() -> None:
    """asgi.md 18: no trailers and no 103 in HTTP/1.0, and no tls on a plain connection."""
    assert set(scope_of("/")["extensions"]) == {
        "http.response.pathsend",
        "http.response.zerocopysend",
        "http.response.trailers",
        "http.response.early_hint",
    }
    assert set(scope_of("/", version="1.0")["extensions"]) == {
        "http.response.pathsend",
        "http.response.zerocopysend",
    }


def test_websocket() -> None:
    """asgi.md 1, 6, 75."""
    request = parsed(b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n")
    scope = websocket_scope(BASE, request, NO_ROOT, {}, ["a", "b"])
    assert scope["type"] == "websocket"
    assert scope["scheme"] == "ws"
    assert scope["subprotocols"] == ["a", "b"]
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert "method" not in scope


def test_origin() -> None:
    """asgi.md 6: what a trusted proxy says."""
    scope = scope_of("/", "X-A: 1\r\n")
    set_origin(scope, Origin(("9.9.9.9", 0), "https", b"shop.example", 8443, ""))
    assert scope["client"] == ("9.9.9.9", 0)
    assert scope["scheme"] == "https"
    assert scope["server"] == ("10.0.0.1", 8443)
    assert scope["headers"] == [(b"host", b"shop.example"), (b"x-a", b"1")]
