"""The shapes of all that one arbiter hands to the next, kept beside the number of their form.

    python -m tests.house.form --write

An upgrade in place lets old workers and molds speak to a new arbiter, which reads the old one's state and
scoreboard. `handover.FORM` says that this is possible; here it is seen when it no longer is.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arbiter.link import channel, messages, orders, scoreboard, stacks
from arbiter.supervisor import handover
from arbiter.supervisor.plain import HOME

KEPT = Path(__file__).with_name("form.json")
WRITE = "python -m tests.house.form --write"

Shapes = dict[str, dict[str, dict[str, Any]]]
"""By part ("state", "messages", "scoreboard"), then by record: what there is in it."""


def shapes() -> Shapes:
    """As they are."""
    spoken = typing.get_args(messages.Message)
    return {
        "state": dict(sorted(_reachable(handover.State, {}).items())),
        "messages": {kind.__name__: _fields(kind) for kind in spoken},
        "scoreboard": {
            "Word": {word.name: int(word) for word in scoreboard.Word},
            "State": {state.name: int(state) for state in scoreboard.State},
            "methods": {name: code >> 16 for name, code in scoreboard._METHOD_CODES.items()},
            "numbers": {
                name: getattr(scoreboard, name)
                for name in ("ROW_BYTES", "WORD", "LATENCY_BUCKETS", "LATENCY_SHIFT", "LANES", "LANE_WORDS")
            },
            "channel": {
                "head": channel._LENGTH.format,
                "order": orders._HEAD.format,
                "dump": stacks.DUMP_SIGNAL.name,
                "draining": messages.DRAINING,
            },
        },
    }


def _fields(kind: Any) -> dict[str, str]:
    """The annotation of each field, as it is written; with " = ..." if it may be missing."""
    found = {}
    for field in dataclasses.fields(kind):
        if not field.metadata.get(HOME):
            required = field.default is field.default_factory is dataclasses.MISSING
            found[field.name] = str(field.type) + ("" if required else " = ...")
    return found


def _reachable(kind: Any, found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The records and enumerations that a value of this annotation may hold."""
    name = f"{getattr(kind, '__module__', '').rpartition('.')[2]}.{getattr(kind, '__qualname__', '')}"
    if name in found:
        return found
    if dataclasses.is_dataclass(kind):
        found[name] = _fields(kind)
        hints = typing.get_type_hints(kind)
        for field in found[name]:
            _reachable(hints[field], found)
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        found[name] = {member.name: [member.value] for member in kind}  # a list: it is no field
    for inner in typing.get_args(kind):
        _reachable(inner, found)
    return found


def misread(kept: Shapes, current: Shapes) -> Iterator[str]:
    """What a program with the shapes `kept` has written or says, and one with `current` would misread, or the
    other way round.
    """
    for part, records in kept.items():
        for record, old in records.items():
            new = current[part].get(record)
            where = f"{part}: {record}"
            if new is None:
                if part != "state":
                    yield f"{where} is gone"
                continue
            for name in old.keys() & new.keys():
                if old[name] != new[name]:
                    yield f"{where}.{name} was {old[name]!r} and is {new[name]!r}"
            for name in old.keys() - new.keys():
                if part != "state" or not isinstance(old[name], str):
                    yield f"{where}.{name} is gone"
            for name in new.keys() - old.keys():
                missing = isinstance(new[name], str) and not new[name].endswith(" = ...")
                if part == "messages" or (part == "state" and missing):
                    yield f"{where}.{name} is new"


def problem(kept: dict[str, Any], form: int, current: Shapes) -> str:
    """What is to be done about a difference; "" if there is none."""
    if kept == {"form": form, "shapes": current}:
        return ""
    wrong = sorted(misread(kept["shapes"], current)) if kept["form"] == form else []
    if wrong:
        found = "".join(f"\n  {what}" for what in wrong)
        return (
            f"an arbiter that runs and one that is installed would misread each other:{found}\n"
            f"Give what is new a default, or raise FORM in arbiter/supervisor/handover.py (an upgrade in "
            f"place is then refused, and only a restart leads from one to the other); then `{WRITE}`."
        )
    return f"{KEPT.name} is out of date, which harms nobody: `{WRITE}`."


def main() -> int:
    """Say what is wrong; with --write, keep the shapes as they are, unless FORM has to be raised first."""
    kept, current = json.loads(KEPT.read_text()), shapes()
    said = problem(kept, handover.FORM, current)
    if said and "--write" in sys.argv and "raise FORM" not in said:
        KEPT.write_text(json.dumps({"form": handover.FORM, "shapes": current}, indent=1) + "\n")
        print(f"written: {KEPT.name}")
        return 0
    print(said or "The shapes are as they were.")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
