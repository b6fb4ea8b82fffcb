"""What is made from the table is up to date, and right."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from arbiter.config import render
from arbiter.config.address import Address
from arbiter.config.attributes import Attributes
from arbiter.config.hook import Hook
from arbiter.config.sources import Loader
from arbiter.config.table import TABLE

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", render.GENERATED)
def test_the_committed_file_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text() == render.GENERATED[name](), (
        "run python -m arbiter.config.render --write"
    )


def test_write_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in render.GENERATED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    assert render.main([], tmp_path) == 1
    assert "out of date: docs/settings.md" in capsys.readouterr().out
    assert render.main(["--write"], tmp_path) == 0
    assert "written: docs/settings.md" in capsys.readouterr().out
    assert render.main([], tmp_path) == 0


def test_the_module_can_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["render"])
    monkeypatch.delitem(sys.modules, "arbiter.config.render")
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("arbiter.config.render", run_name="__main__")
    assert caught.value.code == 0


def test_the_reference_has_every_setting() -> None:
    text = render.reference()
    for setting in TABLE.values():
        assert text.count(f"### `{setting.name}`\n") == 1
        for word in (*setting.flags, *setting.environment):
            assert word in text


def test_the_types_are_those_of_the_values(tmp_path: Path) -> None:
    """The annotations that type checkers see are true of a loaded configuration."""
    config = Loader({"wsgi_app": "a:b"}, {}, str(tmp_path)).load()
    names = {name for setting in TABLE.values() for name in setting.names}
    assert set(Attributes.__annotations__) == names
    for setting in TABLE.values():
        value = getattr(config, setting.name)
        kind: Any = re.sub(r"\[.*\]", "", setting.annotation.removesuffix(" | None"))
        if value is None:
            assert setting.annotation.endswith("| None")
        elif kind == "Mapping":
            assert hasattr(value, "items")
        else:
            assert type(value).__name__ == kind, setting.name
    assert isinstance(config.bind[0], Address)


# ---------------------------------------------------------------- configs/full.conf.py


def load_file(directory: Path, text: str) -> Any:
    (directory / "full.conf.py").write_text(text)
    return Loader({"config": "full.conf.py"}, {}, str(directory)).load()


def test_the_full_file_is_the_defaults(tmp_path: Path) -> None:
    """Uncommented line by line, it says what is the default anyway."""
    lines = render.full_file().splitlines()
    wanted = re.compile(r"# ([a-z_]+ = .*|    [^ ].*|def .*)")
    text = "\n".join(
        re.sub(r"^# ", "", line) if wanted.fullmatch(line) and not line.startswith("# wsgi") else line
        for line in lines
    )
    names = set(re.findall(r"(?m)^([a-z_]+) = ", text)) | set(re.findall(r"(?m)^def ([a-z_]+)\(", text))
    assert names == {name for name, setting in TABLE.items() if setting.in_file} - {"wsgi_app"}
    config = load_file(tmp_path, f"{text}\nwsgi_app = 'a:b'\n")
    for name, setting in TABLE.items():
        if isinstance(setting.kind, Hook):
            assert callable(getattr(config, name))
        elif setting.in_file and name != "wsgi_app" and not setting.derived:
            assert getattr(config, name) == setting.read(setting.default), name


# ---------------------------------------------------------------- --print-config


def test_print_config(tmp_path: Path) -> None:
    (tmp_path / "arbiter.conf.py").write_text(
        "workers = 2\ntimeout = '2m'\nraw_env = ['SECRET_KEY=hunter2', 'A=1']\ndef on_exit(server): pass\n"
    )
    config = Loader({"wsgi_app": "a:b", "threads": "4"}, {}, str(tmp_path)).load()
    text = render.print_config(config)
    lines = {
        line.split(" = ")[0].strip(): line.split(" = ", 1)[1] for line in text.splitlines() if " = " in line
    }
    assert re.split(r" {2,}", lines["workers"]) == ["2", "# arbiter.conf.py:1"]
    assert lines["timeout"].endswith("# arbiter.conf.py:2, written '2m'")
    assert lines["threads"].endswith("# --threads")
    assert lines["backlog"].endswith("# default")
    assert lines["on_exit"].startswith("<function on_exit>")
    assert "on_reload" not in lines, "hooks that are not set are left out"
    assert "# A='1' (arbiter.conf.py:3)" in text
    assert "hunter2" not in text
