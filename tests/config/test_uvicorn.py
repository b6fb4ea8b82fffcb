"""What arbiter says to a command line of uvicorn's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from arbiter.config import options
from arbiter.config.options import parse
from arbiter.config.sources import Loader
from arbiter.config.uvicorn import INSTEAD
from arbiter.errors import ConfigError


@pytest.mark.parametrize("flag", INSTEAD)
def test_each_is_refused_with_the_way_to_write_it(flag: str) -> None:
    with pytest.raises(ValueError, match=re.escape(INSTEAD[flag])) as caught:
        parse([flag, "value", "a:b"])
    assert f"{flag!r}, which is uvicorn's" in str(caught.value)
    assert INSTEAD[flag].endswith(".")


@pytest.mark.parametrize("flag", INSTEAD)
def test_what_is_written_instead_is_there(flag: str) -> None:
    negatives = {"--no-websocket-compression"}
    proposed = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", INSTEAD[flag]))
    assert proposed <= options.FLAGS | negatives
    assert flag not in proposed


@pytest.mark.parametrize(
    "words",
    [
        ["-b", "0.0.0.0:80", "-b", "unix:app.sock", "--asgi-loop", "auto", "--asgi-lifespan", "on"],
        ["--forwarded-allow-ips", "", "--server-header", "", "--access-logfile", "-", "-k", "asgi"],
        ["--no-websocket-compression", "--chdir", ".", "--pythonpath", "."],
    ],
)
def test_it_is_understood_as_it_is_proposed(tmp_path: Path, words: list[str]) -> None:
    assert Loader(parse([*words, "module:factory()"]), {}, str(tmp_path)).load().wsgi_app


def test_so_it_is_in_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Write -b HOST:PORT"):
        Loader({"wsgi_app": "a:b"}, {"ARBITER_CMD_ARGS": "--port 80"}, str(tmp_path)).load()


def test_what_is_nobodys_has_the_nearest() -> None:
    with pytest.raises(ValueError, match="--workers"):
        parse(["--workerz", "3"])
