"""A terminal as small as it can be: what a program has painted, as lines of text.

It knows what `arbiterctl top` uses: cursor home, end of line, end of screen, attributes, the other screen.
Anything else fails, so that nothing unexpected goes to a real terminal unseen.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|(\r|\n)|([^\x1b\r\n]+)|(\x1b)")


class Screen:
    """`columns` x `lines`; text past the right edge fails instead of wrapping."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns = columns
        self.cells = [[" "] * columns for _ in range(lines)]
        self.other = False
        self.cursor_hidden = False
        self.frames = 0
        self._line = self._column = 0
        self._held = ""

    def feed(self, text: str) -> None:
        """Take in what the program has written; half a sequence is kept for the next time."""
        text = self._held + text
        cut = text.rfind("\x1b")
        complete = cut < 0 or re.match(r"\x1b\[\??[0-9;]*[A-Za-z]", text[cut:])
        self._held = "" if complete else text[cut:]
        for found in _TOKEN.finditer(text if complete else text[:cut]):
            parameters, letter, control, plain, stray = found.groups()
            assert stray is None, f"an unknown sequence: {text[found.start() : found.start() + 10]!r}"
            if letter:
                self._sequence(parameters, letter)
            elif control == "\r":
                self._column = 0
            elif control == "\n":
                self._line += 1
                assert self._line < len(self.cells), "more lines than the screen has"
            elif plain:
                for character in plain:
                    assert self._column < self.columns, f"a line is longer than {self.columns} columns"
                    self.cells[self._line][self._column] = character
                    self._column += 1

    def _sequence(self, parameters: str, letter: str) -> None:
        if letter == "H" and not parameters:
            self._line = self._column = 0
            self.frames += 1
        elif letter == "K" and not parameters:
            self.cells[self._line][self._column :] = [" "] * (self.columns - self._column)
        elif letter == "J" and not parameters:
            for line in self.cells[self._line + 1 :]:
                line[:] = [" "] * self.columns
        elif parameters == "?1049":
            self.other = letter == "h"
        elif parameters == "?25":
            self.cursor_hidden = letter == "l"
        else:
            assert letter == "m", f"an unknown sequence: {parameters}{letter}"

    @property
    def lines(self) -> list[str]:
        """The screen, without blanks at the ends of lines."""
        return ["".join(line).rstrip() for line in self.cells]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)
