"""Addresses, peers, and what stands in HTTP fields."""

from __future__ import annotations

from typing import Any

import pytest

from arbiter.config.address import Address
from arbiter.config.kinds import Listing
from arbiter.config.network import Bind, FieldName, FieldValue, Network, RootPath, SchemeHeaders
from arbiter.config.unreadable import Unreadable


def test_bind() -> None:
    kind = Listing(Bind())
    assert [str(address) for address in kind.read("127.0.0.1:1, unix:a.sock")] == [
        "127.0.0.1:1",
        "unix:a.sock",
    ]
    assert kind.read([Address.inherited(3)]) == (Address.inherited(3),)
    assert [str(address) for address in kind.resolve(kind.read("unix:a,:80"), "/run")] == [
        "unix:/run/a",
        "0.0.0.0:80",
    ]
    with pytest.raises(Unreadable):
        kind.read([8000])


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("127.0.0.1", "127.0.0.1"),
        (" ::1 ", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("fd00::/8", "fd00::/8"),
        ("*", "*"),
        ("unix", "unix"),
    ],
)
def test_network(text: str, network: str) -> None:
    assert Network().read(text) == network


@pytest.mark.parametrize("value", ["localhost", "10.0.0", "10.0.0.1:80", "10.0.0.0/33", "", 1, None])
def test_not_a_network(value: Any) -> None:
    with pytest.raises(Unreadable):
        Network().read(value)


def test_an_address_with_a_mask_gets_its_network_as_remedy() -> None:
    with pytest.raises(Unreadable) as caught:
        Network().read("10.1.2.3/8")
    assert caught.value.remedy == "Write 10.0.0.0/8."


def test_root_path() -> None:
    assert RootPath().read("/shop/") == "/shop"
    assert RootPath().read("") == RootPath().read("/") == ""
    for wrong in ("shop", "/a?b", "/a#b"):
        with pytest.raises(Unreadable):
            RootPath().read(wrong)


def test_field_value() -> None:
    assert FieldValue().read(" arbiter ") == "arbiter"
    assert FieldValue().read("") == ""
    for wrong in ("a\r\nb", "ü"):
        with pytest.raises(Unreadable):
            FieldValue().read(wrong)


def test_field_name() -> None:
    assert FieldName().read("script_name") == "SCRIPT_NAME"
    for wrong in ("a b", "", "a:b", 3):
        with pytest.raises(Unreadable):
            FieldName().read(wrong)


def test_scheme_headers() -> None:
    assert SchemeHeaders().read({"x-forwarded-proto": "https"}) == {"X-FORWARDED-PROTO": "https"}
    for wrong in ({"x": 1}, {"a b": "c"}, ["x"], "x"):
        with pytest.raises(Unreadable):
            SchemeHeaders().read(wrong)
