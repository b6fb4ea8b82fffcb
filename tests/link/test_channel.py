"""The channel carries whole messages, whatever the cuts, and survives garbage."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.link.channel import MAX_MESSAGE, Receiver, Sender, channel
from arbiter.link.messages import BootFailed, Booting, Message, Ready, Retiring, decode, encode

MESSAGES = st.one_of(
    st.builds(Booting, st.text()),
    st.builds(Ready, st.sampled_from(["sync", "threaded", "asgi"])),
    st.builds(BootFailed, st.text(), st.text(), st.text(), st.integers(0, 255)),
    st.builds(Retiring, st.text()),
)


@given(MESSAGES)
def test_every_message_survives_the_way(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("data", [b"", b"{}", b'["Ready"]', b'["Nope", {}]', b'["Ready", {"x": 1}]', b"\xff"])
def test_what_is_no_message_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a message"):
        decode(data)


@given(st.lists(MESSAGES, max_size=5), st.integers(1, 40))
def test_any_cut_gives_the_same_messages(messages: list[Message], size: int) -> None:
    ours, theirs = socket.socketpair()
    receiver = Receiver(ours)
    stream = b"".join(struct.pack("!I", len(encode(m))) + encode(m) for m in messages)
    got: list[Message] = []
    for start in range(0, len(stream), size):
        theirs.sendall(stream[start : start + size])
        got.extend(receiver.receive())
    theirs.close()
    got.extend(receiver.receive())
    assert got == messages
    assert receiver.closed
    receiver.close()


def test_sender_to_receiver() -> None:
    receiver, theirs = channel()
    sender = Sender(theirs)
    assert sender.send(BootFailed("application", "no", "Traceback\n" * 1000, 4))
    (message,) = receiver.receive()
    assert isinstance(message, BootFailed)
    receiver.close()
    assert not sender.send(Ready("sync"))
    sender.close()


def test_a_length_beyond_reason_closes_the_channel() -> None:
    receiver, theirs = channel()
    theirs.sendall(struct.pack("!I", MAX_MESSAGE + 1))
    with pytest.raises(ValueError, match="bytes"):
        receiver.receive()
    assert receiver.closed
    receiver.close()
    theirs.close()
