"""Whoever changes what an arbiter hands over to the next is told to raise its number."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable

import pytest

from arbiter.supervisor import handover
from tests.house.form import KEPT, Shapes, problem, shapes


def test_the_form_has_its_number() -> None:
    assert not (said := problem(json.loads(KEPT.read_text()), handover.FORM, shapes())), said


Change = Callable[[Shapes], object]


def retype(s: Shapes) -> object:
    return s["state"]["book.Book"].update(children="list[Child]")


HARMFUL: list[tuple[Change, str]] = [
    (retype, "state: book.Book.children was 'dict[int, Child] = ...' and is 'list[Child]'"),
    (lambda s: s["state"]["watch.ChildRecord"].update(new="int"), "state: watch.ChildRecord.new is new"),
    (lambda s: s["state"]["states.State"].pop("READY"), "state: states.State.READY is gone"),
    (lambda s: s["messages"]["Spawn"].update(new="int = ..."), "messages: Spawn.new is new"),
    (lambda s: s["messages"]["Ready"].pop("kind"), "messages: Ready.kind is gone"),
    (lambda s: s["messages"].pop("Retiring"), "messages: Retiring is gone"),
    (lambda s: s["scoreboard"]["Word"].update(PID=3), "scoreboard: Word.PID was 0 and is 3"),
    (lambda s: s["scoreboard"]["numbers"].update(LANES=65), "scoreboard: numbers.LANES was 64 and is 65"),
]
HARMLESS: list[Change] = [
    lambda s: s["state"]["watch.ChildRecord"].update(new="int = ..."),
    lambda s: s["state"]["watch.ChildRecord"].pop("held"),
    lambda s: s["state"]["states.State"].update(SLEEPING=["sleeping"]),
    lambda s: s["messages"].update(News={"text": "str"}),
    lambda s: s["scoreboard"]["Word"].update(NEW=24),
]


def after(change: Change) -> tuple[dict[str, object], Shapes]:
    """What is kept of the shapes of today, and those after a change."""
    changed = copy.deepcopy(shapes())
    change(changed)
    return {"form": handover.FORM, "shapes": shapes()}, changed


@pytest.mark.parametrize(("change", "found"), HARMFUL)
def test_what_would_be_misread_asks_for_another_number(change: Change, found: str) -> None:
    kept, changed = after(change)
    said = problem(kept, handover.FORM, changed)
    assert found in said
    assert re.search(r"raise FORM in arbiter/supervisor/handover\.py", said)
    assert "raise FORM" not in problem(kept, handover.FORM + 1, changed), "it has been raised"


@pytest.mark.parametrize("change", HARMLESS)
def test_what_fits_is_only_written_down(change: Change) -> None:
    kept, changed = after(change)
    said = problem(kept, handover.FORM, changed)
    assert "out of date" in said and "raise FORM" not in said


def test_all_that_goes_along_is_seen() -> None:
    """Down to the parts of parts."""
    names = {
        "handover.State",
        "book.Child",
        "book.Rules",
        "states.State",
        "address.Address",
        "ledger.LedgerRecord",
    }
    assert names <= shapes()["state"].keys()
