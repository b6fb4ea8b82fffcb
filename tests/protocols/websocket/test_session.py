"""Frames to messages and back, without a socket; the client is the library's own."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import BINARY, CLOSE, CONT, PING, TEXT, Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from arbiter.protocols.websocket.session import SMALL, Ended, Session, SessionEvent, close_fault


def deflate() -> PerMessageDeflate:
    return PerMessageDeflate(False, False, 12, 12)


def masked(opcode: Opcode, data: bytes, fin: bool = True, *, rsv1: bool = False) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True) if not rsv1 else _rsv1(Frame(opcode, data, fin))


def _rsv1(frame: Frame) -> bytes:
    raw = bytearray(frame.serialize(mask=True))
    raw[0] |= 0x40
    return bytes(raw)


def fed(session: Session, data: bytes, size: int = 0) -> list[SessionEvent]:
    if not size:
        return session.receive(data)
    return [event for at in range(0, len(data), size) for event in session.receive(data[at : at + size])]


def test_a_close_amid_a_fragmented_message() -> None:
    """RFC 6455 5.4: control frames may stand between fragments; the close is answered with its own code."""
    session = Session(1 << 20, None)
    first = masked(TEXT, b"fragment1", fin=False)
    [end] = session.receive(first + masked(CLOSE, b"\x03\xe8") + masked(CONT, b"fragment2"))
    assert isinstance(end, Ended)
    assert (end.code, end.failed) == (1000, False)
    assert session.pending() == b"\x88\x02\x03\xe8"


MESSAGES = st.lists(st.one_of(st.text(max_size=300), st.binary(max_size=300)), max_size=6)


@given(messages=MESSAGES, pieces=st.integers(1, 50), size=st.integers(0, 40), compressed=st.booleans())
def test_any_split_gives_the_same_messages(
    messages: list[str | bytes], pieces: int, size: int, compressed: bool
) -> None:
    """asgi.md 76, 78: fragments are joined, empty messages arrive, whatever the split of bytes or
    characters.
    """
    client = Protocol(CLIENT)
    if compressed:
        client.extensions = [deflate()]
    for message in messages:
        data = message.encode() if isinstance(message, str) else message
        parts = [data[at : at + pieces] for at in range(0, len(data), pieces)] or [b""]
        send = client.send_text if isinstance(message, str) else client.send_binary
        send(parts[0], fin=len(parts) == 1)
        for number, part in enumerate(parts[1:], 2):
            client.send_continuation(part, fin=number == len(parts))
    session = Session(1 << 20, deflate() if compressed else None)
    assert fed(session, b"".join(client.data_to_send()), size) == messages
    assert session.pending() == b""


@given(messages=MESSAGES, compressed=st.booleans())
def test_what_is_sent_arrives(messages: list[str | bytes], compressed: bool) -> None:
    """Small messages go uncompressed, which the other side must not mind."""
    session = Session(1 << 20, deflate() if compressed else None)
    client = Protocol(CLIENT, max_size=None)
    if compressed:
        client.extensions = [deflate()]
    got: list[str | bytes] = []
    for message in messages:
        text = isinstance(message, str)
        client.receive_data(
            session.send(message.encode() if isinstance(message, str) else message, text=text)
        )
        for frame in client.events_received():
            assert isinstance(frame, Frame) and frame.fin
            data = bytes(frame.data)
            got.append(data.decode() if frame.opcode is TEXT else data)
    assert got == messages


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 100_000])
def test_lengths(size: int) -> None:
    """RFC 6455 5.2: the three forms of a length."""
    client = Protocol(CLIENT, max_size=None)
    client.receive_data(Session(0, None).send(bytes(size), text=False))
    (frame,) = client.events_received()
    assert isinstance(frame, Frame) and bytes(frame.data) == bytes(size)


def test_compression_pays_only_past_a_size() -> None:
    session = Session(0, deflate())
    assert session.send(b"a" * (SMALL - 1), text=True)[0] == 0x81
    assert session.send(b"a" * 10_000, text=True)[0] == 0xC1


@given(junk=st.binary(max_size=200), size=st.integers(0, 20))
def test_junk_never_raises(junk: bytes, size: int) -> None:
    session = Session(1000, None)
    fed(session, junk, size)
    session.pending()
    session.receive_eof()


def end_of(session: Session, data: bytes) -> Ended:
    *_, last = session.receive(data)
    assert isinstance(last, Ended)
    return last


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(TEXT, b"\xff"), 1007),
        (masked(TEXT, b"\xc3", fin=False) + masked(CONT, b"("), 1007),
        (masked(TEXT, b"\xc3"), 1007),
        (Frame(TEXT, b"unmasked").serialize(mask=False), 1002),
        (masked(CONT, b"x"), 1002),
        (masked(TEXT, b"x", fin=False) + masked(TEXT, b"y"), 1002),
        (masked(TEXT, b"x", rsv1=True), 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\x09\x80\0\0\0\0", 1002),
        (b"\x89\xfe\x00\x7e\0\0\0\0" + bytes(126), 1002),
        (masked(BINARY, bytes(1001)), 1009),
        (masked(BINARY, bytes(600), fin=False) + masked(CONT, bytes(600)), 1009),
    ],
    ids=[
        "text",
        "fragment",
        "cut-short",
        "unmasked",
        "continues-nothing",
        "interleaved",
        "rsv1",
        "opcode-3",
        "control-fragmented",
        "control-long",
        "message-long",
        "fragments-long",
    ],
)
def test_faults_of_the_peer(data: bytes, code: int) -> None:
    """asgi.md 82: 1007, 1002, 1009, on the wire and for the application; nothing is read after it."""
    session = Session(1000, None)
    end = end_of(session, data)
    assert (end.code, end.failed) == (code, True)
    out = session.pending()
    assert out[0] == 0x88
    assert int.from_bytes(out[2:4], "big") == code
    assert session.receive(masked(TEXT, b"later")) == []
    assert not session.open


def test_a_compressed_bomb() -> None:
    """asgi.md 82: the limit holds for what a message inflates to."""
    session = Session(100_000, deflate())
    packer = zlib.compressobj(wbits=-12)
    bomb = (packer.compress(bytes(50_000_000)) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(bomb) < 60_000
    assert end_of(session, masked(BINARY, bomb, rsv1=True)).code == 1009


@pytest.mark.parametrize(
    ("frame", "code", "reason"),
    [(b"\x03\xe8bye", 1000, "bye"), (b"", 1005, ""), (b"\x0f\xa0", 4000, "")],
)
def test_the_peer_closes(frame: bytes, code: int, reason: str) -> None:
    """asgi.md 79: its code and reason, 1005 when it gave none; the close is echoed."""
    session = Session(0, None)
    raw = bytearray(Frame(PING, frame).serialize(mask=True))
    raw[0] = 0x88
    end = end_of(session, bytes(raw))
    assert (end.code, end.reason, end.failed) == (code, reason, False)
    assert session.pending() == bytes((0x88, len(frame))) + frame


def test_we_close() -> None:
    """asgi.md 80."""
    session = Session(0, None)
    assert session.close(1001, "later") == b"\x88\x07\x03\xe9later"
    assert not session.open
    assert session.close(1000, "again") == b""
    client = Protocol(CLIENT)
    client.send_close(1001, "")
    end = end_of(session, b"".join(client.data_to_send()))
    assert (end.code, end.failed) == (1001, False)


def test_pings_are_answered() -> None:
    """asgi.md 78: with their payload; unsolicited pongs are ignored."""
    session = Session(0, None)
    assert session.receive(masked(PING, b"abc") + b"\x8a\x80\0\0\0\0") == []
    assert session.pending() == b"\x8a\x03abc"
    assert session.ping(b"x") == b"\x89\x01x"


@pytest.mark.parametrize(
    ("code", "reason", "fine"),
    [
        (1000, "", True),
        (4999, "x" * 123, True),
        (1000, "ä" * 62, False),
        (1005, "", False),
        (1006, "", False),
        (999, "", False),
        (5000, "", False),
    ],
)
def test_what_a_close_can_carry(code: int, reason: str, fine: bool) -> None:
    assert (close_fault(code, reason) is None) == fine
