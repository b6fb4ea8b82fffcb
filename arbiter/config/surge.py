"""A number of workers, given as such or as a share of all.

Neighbours: `sections/supervision` declares a setting of this kind, the supervisor asks `surge_of`. Its one
rule: it stays as written until the number of workers is known.
"""

from __future__ import annotations

import re

from arbiter.config.kinds import Kind


class Surge(Kind[str]):
    """A whole number of at least 1, or a percentage from 1% to 100%."""

    noun = "a number of workers or a percentage"
    metavar = "NUMBER|PERCENT%"
    example = 'a whole number such as 2, or a percentage such as "25%"'
    annotation = "str"

    def read(self, value: object) -> str:
        text = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
        found = re.fullmatch(r"([0-9]{1,6})(%?)", text)
        if not found or int(found[1]) < 1 or (found[2] and int(found[1]) > 100):
            raise self.wrong()
        return f"{int(found[1])}{found[2]}"


def surge_of(written: str, workers: int) -> int:
    """How many of `workers` that is, at least one."""
    if written.endswith("%"):
        return max(1, workers * int(written[:-1]) // 100)
    return int(written)
