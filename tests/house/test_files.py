"""Nothing of the machine it was written on is in the project; tests mirror the package."""

from __future__ import annotations

import re

from tests.house.source import ROOT, modules, shipped

# Assembled, so that this file does not hold what it looks for.
FOREIGN = re.compile(
    "|".join(
        [
            "/" + "work" + "/",
            "/" + "root" + "/",
            "/" + "home" + r"/\w",
            r"\." + "pyenv" + "/",
            "pypi" + r"\." + "org",
            "python" + "hosted",
            "registry" + r"\." + "npmjs",
            "deb" + r"\." + "debian",
        ]
    )
)


def test_no_path_or_host_of_a_machine() -> None:
    found = []
    for path in shipped():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in FOREIGN.finditer(text)]
    assert found == []


ACROSS = {
    "protocols/http1/test_oracle.py": "what h11 says to the same bytes",
    "protocols/http1/test_splits.py": "every way the bytes may arrive",
}
"""Tests that are about more than one module, each with its subject."""


def test_tests_mirror_the_package() -> None:
    """tests/x/test_y*.py is about arbiter/x/y.py, or about all of arbiter/x/y/."""
    known = {module.name for module in modules()}
    parts = {name.split(".")[1] for name in known if "." in name}
    stray = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        *folders, file = path.relative_to(ROOT / "tests").with_suffix("").parts
        if not folders or folders[0] not in parts:
            continue
        words = file.removeprefix("test_").split("_")
        names = {".".join(["arbiter", *folders, "_".join(words[:n])]) for n in range(1, len(words) + 1)}
        if not names & known and str(path.relative_to(ROOT / "tests")) not in ACROSS:
            stray.append(str(path.relative_to(ROOT)))
    assert stray == []
