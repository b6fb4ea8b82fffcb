"""`wsgi.input`: a request body that is there, or one that is fetched while the application reads.

Neighbours: the dispatchers collect bodies with `Body` before they call the application; `pulled_input` is
for a client that waits for `100 Continue`. Its one rule: an end of file means that the body is complete; a
body that was cut raises, so no application mistakes half an upload for a whole one.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, BinaryIO

from arbiter.errors import PeerGone

PULLED_BUFFER = 65536


class BodyBroken(PeerGone):
    """The rest of a request body will not come: raised into an application that reads it (an OSError).

    status: what to answer if the application does not (408, 413, 400), 0 when nobody is there to be answered.
    """

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class Body:
    """A request body as it arrives: in memory up to `spool` bytes, from there on in a file.

    new_file: makes the temporary file; called at most once.
    """

    __slots__ = ("_file", "_new_file", "_parts", "_spool", "size")

    def __init__(self, spool: int, new_file: Callable[[], IO[bytes]]) -> None:
        self.size = 0
        self._spool = spool
        self._new_file = new_file
        self._parts: list[bytes] = []
        self._file: IO[bytes] | None = None

    def add(self, data: bytes) -> None:
        """Take in the next part. Raises OSError when a file is needed and the disk refuses."""
        self.size += len(data)
        if self._file is None:
            self._parts.append(data)
            if self.size <= self._spool:
                return
            self._file = self._new_file()
            self._file.writelines(self._parts)
            self._parts = []
        else:
            self._file.write(data)

    def open(self) -> BinaryIO | IO[bytes]:
        """Return the complete body as a file, at its start. Raises OSError when the disk refuses."""
        if self._file is not None:
            self._file.seek(0)
            return self._file
        return io.BytesIO(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))

    def close(self) -> None:
        """Give memory and file back."""
        self._parts = []
        if self._file is not None:
            self._file.close()


class _Pulled(io.RawIOBase):
    """A raw stream over a function that returns the next part, and b"" once the body is complete."""

    def __init__(self, pull: Callable[[], bytes]) -> None:
        self._pull = pull
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._held or self._pull()
        count = min(len(data), len(buffer))
        buffer[:count] = data[:count]
        self._held = data[count:]
        return count


def pulled_input(pull: Callable[[], bytes]) -> BinaryIO:
    """Return a `wsgi.input` that calls `pull` for each part of the body, first when the application first
    reads.

    pull: returns the next part, b"" at the end of the body (also when called again); raises `BodyBroken`.
    """
    return io.BufferedReader(_Pulled(pull), PULLED_BUFFER)
