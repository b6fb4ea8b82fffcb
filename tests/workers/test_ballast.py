"""What a mold may have unmapped: nothing that the file could not give back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from arbiter.workers.ballast import unwritten


def mapping(
    path: str, permissions: str = "r-xp", anonymous: int = 0, swap: int = 0, start: int = 4096
) -> str:
    return (
        f"{start:x}-{start + 8192:x} {permissions} 00000000 fe:00 260386                     {path}\n"
        f"Size:                  8 kB\nPrivate_Dirty:         0 kB\nAnonymous:             {anonymous} kB\n"
        f"KSM:                   0 kB\nSwap:                  {swap} kB\nVmFlags: rd mr mw me \n"
    )


def found(*mappings: str) -> list[tuple[int, int]]:
    return list(unwritten("".join(mappings).splitlines(keepends=True)))


def test_code_and_constants_of_libraries() -> None:
    text = mapping("/lib/libz.so.1"), mapping("/srv/my app/x.so (deleted)", "r--p", start=65536)
    assert found(*text) == [(4096, 12288), (65536, 73728)]


@pytest.mark.parametrize(
    "text",
    [
        mapping("/lib/libz.so.1", "rw-p"),
        mapping("/lib/libz.so.1", "r--p", anonymous=4),
        mapping("/lib/libz.so.1", "r--p", swap=4),
        mapping("/dev/dri/card0"),
        mapping("[vdso]"),
        mapping("", "r--p"),
        "1000-3000 r-xp 00000000 fe:00 260386 /lib/of/another/kernel.so\nAnonymous: 0 kB\n",
    ],
    ids=["writable", "relocated", "relocated and swapped out", "a device", "the kernel's", "none", "unknown"],
)
def test_nothing_else(text: str) -> None:
    assert found(text) == []
    assert found(text, mapping("/lib/libz.so.1", start=65536)) == [(65536, 73728)]


PROGRAM = """
import ctypes, decimal, json, re, sqlite3, ssl, zlib
from arbiter.workers import ballast
def clean():
    with open("/proc/self/smaps_rollup") as rollup:
        return sum(int(line.split()[1]) for line in rollup if "_Clean" in line)
before = clean()
ballast.drop()
after = clean()
assert zlib.decompress(zlib.compress(b"x" * 9999)) == b"x" * 9999
assert sqlite3.connect(":memory:").execute("select 6 * 7").fetchone() == (42,)
assert ssl.create_default_context() and decimal.Decimal(2) ** 80 == 2 ** 80
print(before > after)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="madvise(2) and /proc")
def test_a_process_goes_on_without_them() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True\n", "")
