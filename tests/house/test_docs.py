"""What the pages say is so: generated parts are fresh, links lead somewhere, names exist."""

from __future__ import annotations

import re
import tomllib

import pytest

from arbiter.errors import ExitStatus
from arbiter.version import __version__
from tests.house.generated import fresh, pages
from tests.house.source import PACKAGE, ROOT

every_page = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_generated_parts_are_fresh(page) -> None:
    assert fresh(page.read_text()) == page.read_text(), "run `make docs`"


@every_page
def test_links_lead_somewhere(page) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("https://", "http://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_dependencies_page_names_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs" / "dependencies.md").read_text()
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = [re.split(r"[<>=;\[ ]", line)[0] for line in wanted]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_changelog_knows_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_readmes_exit_statuses_are_those_of_the_code() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.split("| exit status |", 1)[1].split("\n\n", 1)[0]
    numbers = {int(n) for row in table.splitlines()[2:] for n in re.findall(r"\d+", row.split("|")[1])}
    assert numbers == {int(status) for status in ExitStatus} - {ExitStatus.FAILURE}


def test_the_design_page_names_every_part() -> None:
    text = (ROOT / "docs" / "design.md").read_text()
    parts = {
        path.stem for path in PACKAGE.iterdir() if path.name[0] not in "_." and path.suffix in ("", ".py")
    }
    assert {part for part in parts - {"version", "py"} if f"| `{part}` |" not in text} == set()
