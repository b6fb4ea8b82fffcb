"""A configuration remembered as text, and made again from that by another arbiter.

Neighbours: an upgrade in place (`supervisor.handover`) carries what is remembered from the old program to the
new one; `sources` loads what lies on disk by now. Its one rule: nothing here fails. What cannot be remembered
(a hook is code) or not be read any more is as the configuration of today has it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from arbiter.config.setting import Effect
from arbiter.config.snapshot import Config, Entry, Variable
from arbiter.config.sources import derive
from arbiter.config.unreadable import Unreadable

_MERGED: Final = "raw_env"
"""Its value comes from all sources together, not from what the strongest wrote."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A configuration in plain values.

    settings: name, origin, and what was written, of each that can be said in JSON.
    """

    settings: list[tuple[str, str, Any]]
    variables: list[tuple[str, str, str]]


def remember(config: Config) -> Remembered:
    """What `recall` needs."""
    settings: list[tuple[str, str, Any]] = []
    for name, entry in config.items():
        written = entry.value if name == _MERGED else entry.written
        if isinstance(written, set | frozenset):
            written = sorted(written, key=str)
        try:
            json.dumps(written)
        except (TypeError, ValueError, RecursionError):
            continue
        settings.append((name, entry.origin, written))
    variables = [(one.name, one.value, one.origin) for one in config.variables]
    return Remembered(settings, variables)


def recall(remembered: Remembered, today: Config, cwd: str, *, upgraded: bool = False) -> Config:
    """The configuration that was remembered; cwd: the directory arbiter was started in.

    upgraded: but as an upgrade has changed it, which puts some of what is of today in force at once.
    """
    said = {name: (origin, written) for name, origin, written in remembered.settings}
    entries: dict[str, Entry] = {}
    settled: dict[str, Entry] = {}
    for name, entry in today.items():
        setting = entry.setting
        if name not in said or (upgraded and setting.effect is Effect.UPGRADE):
            settled[name] = entry
            entries[name] = entry
            continue
        origin, written = said[name]
        try:
            entries[name] = Entry(setting, setting.read(written), origin, written)
        except Unreadable:
            settled[name] = entries[name] = entry
    entries = derive(entries, cwd) | settled
    return Config(entries, tuple(Variable(*variable) for variable in remembered.variables), today.notices)
