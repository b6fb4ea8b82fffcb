"""Files of environment variables."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from arbiter.config import env_file


def values(text: str) -> dict[str, str]:
    found, faults = env_file.parse(text, "x.env")
    assert faults == []
    return {name: value for name, (value, _) in found.items()}


def test_lines() -> None:
    text = """\
# a comment
A=1
export B=two words   # a comment

  C = spaced
D=a#b
E=
F='single $X \\n'
G="double \\"quoted\\" \\\\ \\n\\t \\$X \\q"  # a comment
H='two
lines'
I=x=y
A=again
J="last"
"""
    assert values(text) == {
        "A": "again",
        "B": "two words",
        "C": "spaced",
        "D": "a#b",
        "E": "",
        "F": "single $X \\n",
        "G": 'double "quoted" \\ \n\t $X \\q',
        "H": "two\nlines",
        "I": "x=y",
        "J": "last",
    }


def test_the_line_of_each_variable_is_kept() -> None:
    found, _ = env_file.parse("A=1\nB='x\ny'\nC=3", "x.env")
    assert found == {"A": ("1", 1), "B": ("x\ny", 2), "C": ("3", 4)}


def test_all_faults_are_told_and_no_value_is() -> None:
    text = "A=1\nsecret words\nB='secret\n"
    found, faults = env_file.parse(text, "x.env")
    assert found == {"A": ("1", 1)}
    assert [fault.origin for fault in faults] == ["x.env:2", "x.env:3"]
    assert "secret" not in "".join(map(str, faults))


def test_text_after_a_quote() -> None:
    _, faults = env_file.parse("A='x'y\nB=1\n", "x.env")
    assert len(faults) == 1


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    found, faults = env_file.parse(text, "x.env")
    assert all(name and isinstance(value, str) for name, (value, _) in found.items())
    assert all(fault.problem for fault in faults)


@given(
    st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), st.text(max_size=20), max_size=5)
)
def test_what_is_quoted_comes_back(variables: dict[str, str]) -> None:
    variables = {name: value.replace("\0", "").replace("\r", "") for name, value in variables.items()}
    lines = []
    for name, value in variables.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'{name}="{escaped}"')
    assert values("\n".join(lines)) == variables


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"A=\xff")
    (tmp_path / "large").write_bytes(b"#" * (2 << 20))
    for name in ("missing", "latin", "large", "."):
        found, faults = env_file.read(str(tmp_path / name), "conf.py:3")
        assert found == {}
        assert [fault.origin for fault in faults] == ["conf.py:3"]


def test_a_file_with_the_line_ends_of_another_system(tmp_path: Path) -> None:
    (tmp_path / "crlf").write_bytes(b"A=1\r\nB='2'\r\n")
    found, faults = env_file.read(str(tmp_path / "crlf"), "")
    assert faults == []
    assert found == {"A": ("1", 1), "B": ("2", 2)}
