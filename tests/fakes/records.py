"""Log records, made by hand."""

from __future__ import annotations

import logging
import sys
from typing import Any


def record(
    text: str, *args: object, level: int = logging.INFO, failed: bool = False, **named: Any
) -> logging.LogRecord:
    """A record of a worker; `named` are `event` and `fields`. failed: with the exception being handled."""
    made = logging.LogRecord("arbiter.error", level, "", 0, text, args, sys.exc_info() if failed else None)
    made.created = 1_700_000_000.25
    made.__dict__.update({"who": "worker 3 (gen 2, pid 41)", **named})
    return made
