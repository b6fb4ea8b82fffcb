"""Connection scopes: what an ASGI application is told about a request.

Neighbours: `workers.asgi_protocol` makes one `Origin`-filled base per connection with `connection_base` and
one scope per request from it; `asgi_http` and `asgi_websocket` pass the scope on. Its one rule: everything
in a scope that an application could change is made anew for each request, so that no request sees what
another did to its scope.

Sources: asgiref specs/www.rst 2.5, docs/extensions.rst; RFC 9112 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Final, TypeAlias
from urllib.parse import unquote_to_bytes

from arbiter.protocols.events import Request
from arbiter.protocols.peer.forwarded import Origin

Scope: TypeAlias = dict[str, Any]
Address: TypeAlias = tuple[str, int | None]

SPEC_VERSION: Final = "2.5"
"""Of specs/www.rst, for HTTP and WebSocket scopes."""


class RootPath:
    """The prefix under which the application is mounted (setting `root_path`, or a trusted proxy's word).

    ASGI wants `path` and `raw_path` to begin with `root_path`. Some proxies strip the prefix before they
    pass a request on and some do not, so it is added where it is missing and never twice.
    """

    __slots__ = ("_raw_below", "_text_below", "raw", "text")

    def __init__(self, root_path: str) -> None:
        trimmed = root_path.strip("/")
        self.text = f"/{trimmed}" if trimmed else ""
        self.raw = self.text.encode("utf-8")
        self._text_below = self.text + "/"
        self._raw_below = self.raw + b"/"

    def prefixed(self, path: str) -> str:
        """`path` under the prefix; whole segments only: "/apple" does not lie under "/app"."""
        if path == self.text or path.startswith(self._text_below) or not path.startswith("/"):
            return path
        return self.text + path

    def prefixed_raw(self, path: bytes) -> bytes:
        """As `prefixed`, for the undecoded path."""
        if path == self.raw or path.startswith(self._raw_below) or not path.startswith(b"/"):
            return path
        return self.raw + path


_PAIR: Final = itemgetter(0)
_ASGI: Final = {"version": "3.0", "spec_version": SPEC_VERSION}


class _Nothing(dict[str, Any]):
    """An empty dict that stays empty, so that all scopes may share it: what an extension says of itself."""

    __slots__ = ()

    def _refuse(self, *args: object, **named: object) -> Any:
        raise TypeError("the description of an extension cannot be changed")

    __setitem__ = __ior__ = setdefault = update = _refuse


_EXTENSIONS_1_0: Final[dict[str, Any]] = {
    "http.response.pathsend": _Nothing(),
    "http.response.zerocopysend": _Nothing(),
}
_EXTENSIONS: Final[dict[str, Any]] = {
    **_EXTENSIONS_1_0,
    # What HTTP/1.0 has no place for: chunked framing and 1xx.
    "http.response.trailers": _Nothing(),
    "http.response.early_hint": _Nothing(),
}

NO_ROOT: Final = RootPath("")


def connection_base(client: tuple[str, int] | None, server: Address | None, scheme: str) -> Scope:
    """What all requests of a connection have in common; a template, never handed to an application.

    client is None on a unix socket. server is (host, port), or (path, None) on a unix socket.
    """
    return {
        "type": "http",
        "asgi": None,
        "http_version": "1.1",
        "method": "GET",
        "scheme": scheme,
        "path": "",
        "raw_path": b"",
        "query_string": b"",
        "root_path": "",
        "headers": None,
        "client": client,
        "server": server,
        "state": None,
        "extensions": None,
    }


def address(name: Any) -> Address | None:
    """A socket name as ASGI wants it: IPv6 without flow and zone, v4-mapped IPv6 as plain IPv4, a unix path.

    A client that connects through IPv4 to a dual-stack listener is thus known by the address it has, and
    rules about addresses (trusted proxies, an application's allow list) match it.
    """
    if isinstance(name, tuple) and len(name) >= 2:
        host = str(name[0])
        if host.startswith("::ffff:") and "." in host:
            host = host[7:]
        return (host.partition("%")[0], int(name[1]))
    if isinstance(name, bytes):
        name = name.decode("utf-8", "surrogateescape")  # Linux's abstract namespace
    if isinstance(name, str) and name:
        return (name, None)
    return None


def http_scope(base: Scope, request: Request, root: RootPath, state: dict[str, Any]) -> Scope:
    """The scope of one HTTP request.

    `state` is the lifespan state; the scope gets a shallow copy of it (specs/lifespan.rst).
    """
    kept = request.kept
    known = kept.gateway if kept is not None else None
    if known is None:
        scope = base.copy()
        pairs: Iterable[tuple[bytes, bytes]] = map(_PAIR, request.fields)
        _add_target(scope, request, root)
        if kept is not None:
            pairs = tuple(pairs)
            kept.gateway = scope.copy(), pairs, request.method, request.target, root
    else:
        last, pairs, method, target, mounted = known
        scope = last.copy()
        if request.target != target or request.method != method or root is not mounted:
            _add_target(scope, request, root)
    scope["asgi"] = _ASGI.copy()
    scope["headers"] = [*pairs]
    scope["state"] = state.copy() if state else {}
    if request.version == "1.1":
        scope["extensions"] = _EXTENSIONS.copy()
    else:
        scope["http_version"] = request.version
        scope["extensions"] = _EXTENSIONS_1_0.copy()
    return scope


def _add_target(scope: Scope, request: Request, root: RootPath) -> None:
    """What the request line says."""
    path = request.path
    scope["method"] = request.method.upper()
    if b"%" in path:
        scope["path"] = unquote_to_bytes(path).decode("utf-8", "replace")
    else:
        scope["path"] = path.decode("utf-8", "replace")
    scope["raw_path"] = path
    scope["query_string"] = request.query
    scope["root_path"] = ""
    if root is not NO_ROOT:
        mount(scope, root)


def websocket_scope(
    base: Scope, request: Request, root: RootPath, state: dict[str, Any], subprotocols: list[str]
) -> Scope:
    """The scope of one WebSocket; `subprotocols` as offered, in the order of the wire."""
    scope = http_scope(base, request, root, state)
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if scope["scheme"] in ("https", "wss") else "ws"
    scope["subprotocols"] = subprotocols
    scope["extensions"] = {"websocket.http.response": {}}
    del scope["method"]
    return scope


def set_origin(scope: Scope, origin: Origin) -> None:
    """Replace what the connection says by what a trusted proxy says of the client (its prefix: see
    `RootPath`).
    """
    if origin.client is not None:
        scope["client"] = origin.client
    scope["scheme"] = origin.scheme
    if origin.host is not None:
        rest = [pair for pair in scope["headers"] if pair[0] != b"host"]
        scope["headers"] = [(b"host", origin.host), *rest]
    if origin.port is not None:
        server = scope["server"]
        scope["server"] = (server[0] if server else "", origin.port)


def mount(scope: Scope, root: RootPath) -> None:
    """Put the request of `scope` under `root`."""
    scope["root_path"] = root.text
    scope["path"] = root.prefixed(scope["path"])
    scope["raw_path"] = root.prefixed_raw(scope["raw_path"])
