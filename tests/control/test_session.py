"""Frames and requests: whatever a peer sends is an object, a clear fault, or waited for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.control import session as wire
from arbiter.control.commands import WORDS
from arbiter.control.session import Fault, FaultKind, Frames, read_request

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(st.text(), json_values, max_size=4), max_size=5), st.integers(1, 50))
def test_frames_survive_any_cut(messages: list[dict[str, Any]], step: int) -> None:
    data = b"".join(wire.frame(message) for message in messages)
    frames = Frames(1 << 20)
    found = []
    for at in range(0, len(data), step):
        found += frames.feed(data[at : at + step])
    assert json.dumps(found) == json.dumps(messages)
    assert not frames.incomplete


@given(st.binary(max_size=3000))
def test_garbage_is_a_fault_or_waited_for(data: bytes) -> None:
    frames = Frames(1000)
    kinds = []
    try:
        frames.feed(data)
    except Fault as fault:
        kinds.append(fault.kind)
    assert set(kinds) <= {FaultKind.USAGE}
    assert len(frames._held) <= max(len(data), 1004)


def test_a_length_beyond_the_limit_is_not_waited_for() -> None:
    with pytest.raises(Fault, match="at most 100"):
        Frames(100).feed(b"\x00\x00\x00\x65")


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 5000 + b"]" * 5000,
        b"1" * 5000,
        b"[]",
        b"null",
        b"\xff",
        b'{"a":',
        b'{"a": ' + b"9" * 4999 + b"}",
    ],
)
def test_hostile_json_is_a_fault(text: bytes) -> None:
    with pytest.raises(Fault):
        Frames(20000).feed(len(text).to_bytes(4, "big") + text)


@given(st.dictionaries(st.sampled_from(["id", "word", "with", "x"]), json_values))
def test_any_object_is_a_request_or_a_fault(message: dict[str, Any]) -> None:
    faults = []
    try:
        read_request(message)
    except Fault as fault:
        faults.append(fault)
    assert all(fault.kind is FaultKind.USAGE and len(str(fault)) < 200 for fault in faults)


@given(st.sampled_from(sorted(WORDS)), st.dictionaries(st.text(max_size=8), json_values, max_size=3))
def test_any_arguments_are_read_or_a_fault(word: str, arguments: dict[str, Any]) -> None:
    known = {parameter.name for parameter in WORDS[word].parameters}
    try:
        request = read_request({"id": 1, "word": word, "with": arguments})
    except Fault:
        return
    assert set(request.arguments) == known


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_word_can_be_said_plainly(word: str) -> None:
    needed = {
        parameter.name: parameter.choices[0] if parameter.choices else "1"
        for parameter in WORDS[word].parameters
        if parameter.required and not parameter.flags
    }
    (message,) = Frames(1000).feed(wire.request(7, word, needed))
    request = read_request(message)
    assert (request.id, request.command) == (7, WORDS[word])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "worker is missing"),
        ({"worker": 3}, "worker is not a text"),
        ({"worker": "x" * 300}, "at most 200"),
        ({"worker": "1\x1b[2J"}, "at most 200"),
        ({"worker": "1", "force": True}, "no parameter 'force'"),
    ],
)
def test_what_is_wrong_with_an_argument(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(Fault, match=problem):
        read_request({"id": 1, "word": "show", "with": arguments})


def test_answers_come_back_as_they_went() -> None:
    said = wire.fault(3, Fault(FaultKind.REFUSED, "no \ud800 surrogate harms"))
    (message,) = Frames(1000).feed(said)
    assert message["fault"]["kind"] == "refused"
    (message,) = Frames(1000).feed(wire.progress(3, {"a": 1}))
    assert message == {"id": 3, "progress": {"a": 1}}
