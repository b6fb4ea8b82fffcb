"""An installation of arbiter that can be exchanged, or is another arbiter than this one.

installed = Installed(directory)
serve(..., env={"PYTHONPATH": str(installed.link)})
installed.copy("other", ("version.py", "0.1", "0.2"))
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.processes.server import ROOT

Change = tuple[str, str, str]
"""A file of the package, what stands there, and what shall."""


class Installed:
    """What is installed, as PYTHONPATH finds it behind a link that can be moved."""

    def __init__(self, directory: Path) -> None:
        self.link = directory / "current"
        self._directory = directory
        self.switch(ROOT)

    def switch(self, to: Path) -> None:
        fresh = self.link.with_suffix(".new")
        fresh.symlink_to(to)
        fresh.replace(self.link)

    def copy(self, name: str, *changes: Change) -> None:
        """Install a copy of arbiter in which files are changed; all others keep their compiled form."""
        root = self._directory / name
        shutil.copytree(ROOT / "arbiter", root / "arbiter")
        for file, old, new in changes:
            path = root / "arbiter" / file
            text = path.read_text()
            assert old in text
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
                compiled.unlink()
            path.write_text(text.replace(old, new))
        self.switch(root)
