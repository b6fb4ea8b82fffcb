"""Addresses to listen on."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.config.address import Address, parse_address
from arbiter.config.unreadable import Unreadable


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("127.0.0.1:8000", Address("tcp", "127.0.0.1", 8000), "127.0.0.1:8000"),
        ("127.0.0.1", Address("tcp", "127.0.0.1", 8000), "127.0.0.1:8000"),
        (":80", Address("tcp", "0.0.0.0", 80), "0.0.0.0:80"),
        ("Localhost:0", Address("tcp", "localhost", 0), "localhost:0"),
        ("app.example.org:80", Address("tcp", "app.example.org", 80), "app.example.org:80"),
        ("tcp://web_1:80", Address("tcp", "web_1", 80), "web_1:80"),
        ("[::1]:8000", Address("tcp", "::1", 8000), "[::1]:8000"),
        ("[0:0:0:0:0:0:0:1]", Address("tcp", "::1", 8000), "[::1]:8000"),
        ("[::]:80", Address("tcp", "::", 80), "[::]:80"),
        ("[fe80::1%eth0]:80", Address("tcp", "fe80::1%eth0", 80), "[fe80::1%eth0]:80"),
        ("unix:/run/app.sock", Address("unix", path="/run/app.sock"), "unix:/run/app.sock"),
        ("unix:///run/app.sock", Address("unix", path="/run/app.sock"), "unix:/run/app.sock"),
        ("unix:app.sock", Address("unix", path="app.sock"), "unix:app.sock"),
        ("fd://3", Address("fd", fd=3), "fd://3"),
    ],
)
def test_address(text: str, address: Address, shown: str) -> None:
    assert parse_address(text) == address
    assert str(address) == shown
    assert parse_address(shown) == address


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_an_abstract_socket() -> None:
    address = parse_address("unix:@app")
    assert address.path == "\0app"
    assert address.abstract
    assert str(address) == "unix:@app"
    assert address.under("/srv") is address


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "HOST:PORT"),
        ("8000", "Write :8000"),
        ("::1:8000", "brackets"),
        ("::1", "brackets"),
        ("[::1:8000", "HOST:PORT"),
        ("[::1]8000", "HOST:PORT"),
        ("[localhost]:80", "[::1]:8000"),
        ("127.0.0.256:80", "127.0.0.1:8000"),
        ("1.2.3:80", "127.0.0.1:8000"),
        ("localhost:http", "0 to 65535"),
        ("localhost:65536", "0 to 65535"),
        ("localhost:-1", "0 to 65535"),
        ("localhost:", "0 to 65535"),
        ("http://localhost:80", "Leave the scheme out"),
        ("-x:80", "HOST:PORT"),
        ("a b:80", "HOST:PORT"),
        ("unix:", "unix:/run/app.sock"),
        ("unix:" + "x" * 200, "shorter"),
        ("fd://", "fd://3"),
        ("fd://x", "fd://3"),
    ],
)
def test_what_is_no_address_gets_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parse_address(text)
    assert remedy in caught.value.remedy


def test_a_relative_unix_path_is_put_under_a_directory() -> None:
    assert parse_address("unix:run/a.sock").under("/srv/app").path == "/srv/app/run/a.sock"
    assert parse_address("unix:/run/a.sock").under("/srv/app").path == "/run/a.sock"
    assert parse_address(":80").under("/srv").host == "0.0.0.0"


def test_an_inherited_descriptor() -> None:
    assert str(Address.inherited(5)) == "fd://5"


@given(st.text(max_size=40))
def test_whatever_is_an_address_is_shown_as_one(text: str) -> None:
    try:
        address = parse_address(text)
    except Unreadable:
        return
    assert parse_address(str(address)) == address


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_ip_address(ip: object, port: int) -> None:
    text = f"[{ip}]:{port}" if ":" in str(ip) else f"{ip}:{port}"
    assert str(parse_address(text)) == text
