"""The `arbiter` command: its console script and `python -m arbiter` begin here.

Neighbours: `cli.main` is the command, `early` holds the signals until it can take them. Its one rule: what
takes time is imported after that.
"""

from __future__ import annotations

import importlib
from typing import NoReturn

from arbiter import early


def main() -> NoReturn:
    """Entry point; it ends with the command's exit status."""
    early.hold()
    try:
        importlib.import_module("arbiter.cli.main").main()
    except KeyboardInterrupt:
        early.die()
    raise AssertionError("the command has not ended")


if __name__ == "__main__":
    main()
