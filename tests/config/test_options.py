"""The command line's options."""

from __future__ import annotations

import click
import pytest

from arbiter.config import options
from arbiter.config.options import parse
from arbiter.config.table import TABLE


def test_only_what_is_given_is_returned() -> None:
    assert parse([]) == {}
    assert parse(["a:b"]) == {"wsgi_app": "a:b"}
    assert parse(["-w", "3", "-b", ":1", "-b", ":2", "-e", "A=b", "-D", "--no-sendfile", "a:b"]) == {
        "workers": "3",
        "bind": [":1", ":2"],
        "raw_env": ["A=b"],
        "daemon": True,
        "sendfile": False,
        "wsgi_app": "a:b",
    }


@pytest.mark.parametrize("words", [["--nothing"], ["-w"], ["a", "b"], ["--workers=", "-q"]])
def test_what_is_not_understood(words: list[str]) -> None:
    with pytest.raises(ValueError):
        parse(words)


def test_the_help_lists_every_option_under_its_section() -> None:
    command = options.SectionedCommand("arbiter", params=options.parameters())
    text = command.get_help(click.Context(command, info_name="arbiter"))
    for setting in TABLE.values():
        for flag in setting.flags:
            assert flag in text
    titles = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles[:3] == ["Application:", "Sockets:", "Workers:"]
    assert "--certfile" not in text, "gunicorn's options that do nothing are hidden"
    assert "[127.0.0.1:8000]" in text
