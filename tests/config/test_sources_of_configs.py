"""Every file in configs/ and examples/ loads as it is shipped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from arbiter.config.sources import Loader

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path.relative_to(ROOT) for path in (ROOT / "configs").glob("*.py"))
EXAMPLES = sorted(path.relative_to(ROOT) for path in (ROOT / "examples").rglob("*.conf.py"))


def test_there_are_some() -> None:
    names = {path.name for path in CONFIGS}
    assert names >= {"minimal.py", "django_asgi.py", "django_wsgi.py", "threaded.py", "full.conf.py"}
    assert EXAMPLES


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_a_configuration_that_is_shipped(tmp_path: Path, path: Path) -> None:
    shutil.copy(ROOT / path, tmp_path)
    cli = {"config": path.name} | ({"wsgi_app": "a:b"} if path.name == "full.conf.py" else {})
    config = Loader(cli, {}, str(tmp_path)).load()
    assert config.wsgi_app
    assert config.notices == ()


@pytest.mark.parametrize("path", EXAMPLES, ids=str)
def test_a_configuration_of_an_example(path: Path) -> None:
    config = Loader({"config": str(path)}, {}, str(ROOT)).load()
    assert config.wsgi_app
    assert config.notices == ()
