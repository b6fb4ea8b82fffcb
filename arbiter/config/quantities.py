"""The kinds of numbers: counts, durations in seconds, sizes in bytes.

Neighbours: see `kinds`. Its one rule: a unit is part of the value; what is read is always seconds or bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

from arbiter.config.cpus import available_cpus
from arbiter.config.kinds import Kind


class Integer(Kind[int]):
    """A whole number."""

    noun = "a whole number"
    metavar = "NUMBER"
    example = "a whole number such as 4"
    annotation = "int"

    def read(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
            return int(value.strip())
        raise self.wrong()


class Workers(Integer):
    """A number of workers, or "auto": one for each CPU this process may use."""

    metavar = "NUMBER|auto"
    example = 'a whole number such as 4, or "auto"'

    def __init__(self, cpus: Callable[[], int] = available_cpus) -> None:
        self._cpus = cpus

    def read(self, value: object) -> int:
        if isinstance(value, str) and value.strip().lower() == "auto":
            return self._cpus()
        return super().read(value)


_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})\s*(ms|[smhd]?)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
_LONGEST: Final = 366 * 86400.0


class Duration(Kind[float]):
    """A span of time in seconds: 30, "1.5s", "2m", "500ms"."""

    noun = "a duration"
    metavar = "SECONDS"
    example = "seconds such as 30 or 1.5, or with a unit: 500ms, 2m, 1h"
    annotation = "float"

    def read(self, value: object) -> float:
        seconds = self._seconds(value)
        if not math.isfinite(seconds) or seconds < 0:
            raise self.wrong("is not a duration one can wait for")
        if seconds > _LONGEST:
            raise self.wrong("is longer than a year")
        return seconds

    def _seconds(self, value: object) -> float:
        in_seconds = getattr(value, "total_seconds", None)  # a timedelta's; known without its module
        if in_seconds is not None:
            return float(in_seconds())
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                return math.inf
        if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip().lower())):
            return float(found[1]) * _SECONDS[found[2]]
        raise self.wrong()

    def show(self, value: float) -> str:
        return f"{value:.15g}"


_FACTORS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Size(Kind[int]):
    """A number of bytes: 65536, "64K", "1M", "1.5 GiB"; K, M and G are powers of 1024."""

    noun = "a size"
    metavar = "BYTES"
    example = "bytes such as 65536, or with a unit: 64K, 1M, 2G"
    annotation = "int"

    def read(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            size = value
        elif isinstance(value, float) and value.is_integer():
            size = int(value)
        elif isinstance(value, str):
            size = self._parse(value)
        else:
            raise self.wrong()
        if size < 0:
            raise self.wrong("is less than nothing")
        if size > 1 << 60:
            raise self.wrong("is more than any machine has")
        return size

    def _parse(self, text: str) -> int:
        found = re.fullmatch(r"\s*([0-9]{1,19})(\.[0-9]{1,6})?\s*(?:([kmgt])?(?:i?b)?)\s*", text.lower())
        if found is None or (found[2] and not found[3]):
            raise self.wrong()
        factor = _FACTORS[found[3] or ""]
        return int(found[1]) * factor + int(float(found[2] or 0) * factor)

    def show(self, value: int) -> str:
        for unit in "TGMK":
            factor = _FACTORS[unit.lower()]
            if value >= factor and value % factor == 0:
                return f'"{value // factor}{unit}"'
        return str(value)
