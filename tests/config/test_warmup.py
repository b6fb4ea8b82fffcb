"""The kinds of the settings about preloading."""

from __future__ import annotations

import pytest

from arbiter.config.unreadable import Unreadable
from arbiter.config.warmup import Preload, WarmUp


@pytest.mark.parametrize(
    ("value", "read"),
    [("auto", "auto"), (True, "on"), (False, "off"), ("yes", "on"), ("0", "off"), (1, "on")],
)
def test_preloading_is_auto_on_or_off(value: object, read: str) -> None:
    assert Preload().read(value) == read


@pytest.mark.parametrize("value", ["on", "off", "auto"])
def test_what_is_shown_can_be_read_again(value: str) -> None:
    assert Preload().read({"True": True, "False": False, "'auto'": "auto"}[Preload().show(value)]) == value


@pytest.mark.parametrize("value", ["sometimes", 2, None, 0.5])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(Unreadable):
        Preload().read(value)


@pytest.mark.parametrize("value", ["/", "/a?b=c", "https://www.example.com/login/", "http://[::1]:8000/"])
def test_paths_and_urls(value: str) -> None:
    assert WarmUp().read(value) == value


@pytest.mark.parametrize(
    "value", ["", "login/", "ftp://a/", "https:///x", "/a b", "/caf\u00e9", "http://a:99999/"]
)
def test_what_is_neither(value: str) -> None:
    with pytest.raises(Unreadable):
        WarmUp().read(value)
