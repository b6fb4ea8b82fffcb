"""The opening handshake."""

from __future__ import annotations

import pytest

from arbiter.errors import ResponseError
from arbiter.protocols.events import Request
from arbiter.protocols.http1.connection import Http1Connection, ResponseDefaults
from arbiter.protocols.limits import Limits
from arbiter.protocols.websocket.handshake import (
    Offer,
    Refused,
    acceptance,
    agree_on_compression,
    read_offer,
    wants_websocket,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The example of RFC 6455 1.3."""


def parsed(
    *,
    key: str = f"Sec-WebSocket-Key: {KEY}\r\n",
    version: str = "Sec-WebSocket-Version: 13\r\n",
    more: str = "",
    method: str = "GET",
    upgrade: str = "websocket",
) -> Request:
    asks = f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\n"
    head = f"{method} /ws HTTP/1.1\r\nHost: a\r\n{asks}{key}{version}{more}\r\n"
    (request, *_) = Http1Connection(Limits(), ResponseDefaults()).receive(head.encode("latin-1"))
    assert isinstance(request, Request)
    return request


def test_the_example_of_the_rfc() -> None:
    """RFC 6455 1.3."""
    head = acceptance(read_offer(parsed()), None, "", [], b"server: x\r\n")
    assert head == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"upgrade: websocket\r\n"
        b"connection: upgrade\r\n"
        b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"server: x\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize(
    ("method", "upgrade", "wanted"),
    [
        ("GET", "websocket", True),
        ("GET", "WebSocket, h2c", True),
        ("POST", "websocket", False),
        ("GET", "h2c", False),
    ],
)
def test_what_asks_for_a_websocket(method: str, upgrade: str, wanted: bool) -> None:
    """asgi.md 83: POST is not upgraded."""
    assert wants_websocket(parsed(method=method, upgrade=upgrade)) is wanted


@pytest.mark.parametrize("version", ["Sec-WebSocket-Version: 8\r\n", "", "Sec-WebSocket-Version: 13\r\n" * 2])
def test_other_versions(version: str) -> None:
    """asgi.md 83: 426 and the version that is served."""
    with pytest.raises(Refused) as caught:
        read_offer(parsed(version=version))
    assert caught.value.status == 426
    assert (b"sec-websocket-version", b"13") in caught.value.headers


@pytest.mark.parametrize(
    "key", ["", "x", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZQ", f"{KEY}{KEY}", "ä" * 24], ids=repr
)
def test_bad_keys(key: str) -> None:
    """asgi.md 83: 16 bytes in base64, or 400."""
    with pytest.raises(Refused) as caught:
        read_offer(parsed(key=f"Sec-WebSocket-Key: {key}\r\n"))
    assert caught.value.status == 400


def test_missing_and_repeated_keys() -> None:
    """asgi.md 83."""
    for key in ("", f"Sec-WebSocket-Key: {KEY}\r\n" * 2):
        with pytest.raises(Refused):
            read_offer(parsed(key=key))


def test_a_body() -> None:
    """RFC 6455 4.1: a handshake has none."""
    with pytest.raises(Refused):
        read_offer(parsed(more="Content-Length: 3\r\n"))


def test_subprotocols_are_merged() -> None:
    """asgi.md 75: over all header lines, in order, each once."""
    offer = read_offer(
        parsed(more="Sec-WebSocket-Protocol: a, b\r\nX: y\r\nSec-WebSocket-Protocol: c,,a\r\n")
    )
    assert offer.subprotocols == ["a", "b", "c"]
    with pytest.raises(Refused):
        read_offer(parsed(more="Sec-WebSocket-Protocol: a b\r\n"))


def test_subprotocol_chosen() -> None:
    """asgi.md 74: one of those offered."""
    offer = Offer(KEY.encode(), ["a", "b"], [])
    assert b"\r\nsec-websocket-protocol: b\r\n" in acceptance(offer, "b", "", [], b"")
    with pytest.raises(ResponseError):
        acceptance(offer, "c", "", [], b"")


def test_headers() -> None:
    """asgi.md 74: sent; the handshake's own are not the application's to set."""
    offer = Offer(KEY.encode(), ["a"], [])
    head = acceptance(
        offer,
        None,
        "",
        [(b"X-A", b"1"), (b"Upgrade", b"h2c"), (b"Server", b"me")],
        b"server: x\r\ndate: d\r\n",
    )
    assert b"\r\nX-A: 1\r\n" in head
    assert b"h2c" not in head
    assert head.lower().count(b"server:") == 1 and b"\r\ndate: d\r\n" in head
    for bad in (
        (b"sec-websocket-protocol", b"a"),
        (b"x-a", b"1\r\nx: y"),
        (b"x a", b""),
        ("x-a", b""),
        (b"x-a", ""),
    ):
        with pytest.raises(ResponseError):
            acceptance(offer, None, "", [bad], b"")  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ([], ""),
        (["x-unknown"], ""),
        (["permessage-deflate"], "permessage-deflate; server_max_window_bits=12"),
        (
            ["permessage-deflate; client_max_window_bits"],
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            ["x-unknown", "permessage-deflate; server_max_window_bits=10"],
            "permessage-deflate; server_max_window_bits=10",
        ),
        (
            ["permessage-deflate; server_max_window_bits=8, permessage-deflate"],
            "permessage-deflate; server_max_window_bits=12",
        ),
        (["permessage-deflate; nonsense=1"], ""),
    ],
)
def test_compression(offered: list[str], agreed: str) -> None:
    """RFC 7692 5.1: the first offer that can be met."""
    value, extension = agree_on_compression(Offer(b"", [], offered))
    assert value == agreed
    assert (extension is None) == (not agreed)


def test_an_offer_that_cannot_be_read() -> None:
    with pytest.raises(Refused):
        agree_on_compression(Offer(b"", [], ["permessage-deflate; ="]))
