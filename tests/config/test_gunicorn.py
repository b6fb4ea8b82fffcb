"""gunicorn's settings that arbiter does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbiter.config.gunicorn import FOREIGN
from arbiter.config.options import parse
from arbiter.config.sources import Loader
from arbiter.errors import ConfigError


@pytest.mark.parametrize("name", FOREIGN)
def test_each_is_accepted_or_explained(tmp_path: Path, name: str) -> None:
    foreign = FOREIGN[name]
    (tmp_path / "arbiter.conf.py").write_text(f"{name} = 'something else'\n")
    loader = Loader({"wsgi_app": "a:b"}, {}, str(tmp_path))
    if foreign.harmless:
        (notice,) = loader.load().notices
        assert foreign.note.rstrip(".") in notice
    else:
        with pytest.raises(ConfigError) as caught:
            loader.load()
        assert [(fault.setting, fault.origin) for fault in caught.value.faults] == [
            (name, "arbiter.conf.py:1")
        ]
        assert foreign.note in str(caught.value)
    assert foreign.note.endswith(".")


@pytest.mark.parametrize("name", FOREIGN)
def test_each_is_accepted_with_gunicorns_default(tmp_path: Path, name: str) -> None:
    (tmp_path / "arbiter.conf.py").write_text(f"{name} = {FOREIGN[name].default!r}\n")
    assert Loader({"wsgi_app": "a:b"}, {}, str(tmp_path)).load().notices == ()


@pytest.mark.parametrize("name", [name for name, foreign in FOREIGN.items() if foreign.flags])
def test_their_flags_are_understood(name: str) -> None:
    foreign = FOREIGN[name]
    for flag in foreign.flags:
        values = parse([flag, "a:b"] if foreign.switch else [flag, "value", "a:b"])
        assert values == {name: True if foreign.switch else "value", "wsgi_app": "a:b"}
