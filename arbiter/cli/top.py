"""`arbiterctl top`: a running arbiter, live and full-screen, with keys to sort and to act.

Neighbours: `ctl` starts it with a connection, `control.render` has the table. Its one rule: `paint` is pure,
a status and a state to lines that fit the terminal; plain ANSI, so it works over any ssh in 80 columns, and
the terminal is given back as it was, whatever happens.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from arbiter.control import render
from arbiter.control.client import Client
from arbiter.control.render import COLUMNS
from arbiter.control.session import Fault
from arbiter.errors import ControlStatus

INTERVAL: Final = 1.0
"""Seconds between two looks."""
_ENTER: Final = b"\x1b[?1049h\x1b[?25l"
_LEAVE: Final = b"\x1b[?25h\x1b[?1049l"
_REVERSE, _BOLD, _DIM, _RED, _PLAIN = "\x1b[7m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m"
_SPECIAL: Final = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b": "esc"}

KEYS: Final = (
    ("up, down", "choose a worker"),
    ("s, S", "sort by the next column, or the one before"),
    ("o", "sort the other way"),
    ("t", "stacks of the chosen worker"),
    ("c", "recycle it: its successor first"),
    ("k", "kill it (asks first)"),
    ("+, -", "one worker more, one less"),
    ("R", "reload (asks first)"),
    ("d", "drain, or undrain"),
    ("e", "events"),
    ("space", "hold the picture"),
    ("?", "these keys"),
    ("q", "leave"),
)


@dataclass
class Screen:
    """What the operator has chosen."""

    sort: str = "slot"
    descending: bool = False
    chosen: int = 0
    """Process id of the chosen worker, 0 for none."""
    page: str = "workers"
    """"workers", "keys" or "text"."""
    title: str = ""
    text: tuple[str, ...] = ()
    scroll: int = 0
    message: str = ""
    held: bool = False
    asking: str = ""
    """The word to be confirmed."""


def ordered(status: dict[str, Any], screen: Screen) -> list[dict[str, Any]]:
    """The workers in the order chosen; what has no value comes last either way."""
    workers = status["workers"]
    known = [one for one in workers if one.get(screen.sort) is not None]
    unknown = [one for one in workers if one.get(screen.sort) is None]
    known.sort(key=lambda one: (one[screen.sort], one["slot"]), reverse=screen.descending)
    return known + unknown


def paint(status: dict[str, Any], screen: Screen, columns: int, lines: int, now: float) -> list[str]:
    """The whole screen: exactly `lines` lines of at most `columns` columns, with ANSI attributes."""
    foot = _foot(screen, columns)
    room = max(1, lines - 1)
    if screen.page == "keys":
        body = [f"{_BOLD}Keys{_PLAIN}", "", *(f"  {key:<10} {meaning}" for key, meaning in KEYS)]
        body = [line if _BOLD in line else render.clip(line, columns) for line in body]
    elif screen.page == "text":
        body = [f"{_BOLD}{render.clip(screen.title, columns)}{_PLAIN}", ""]
        last = max(0, len(screen.text) - (room - 2))
        screen.scroll = max(0, min(screen.scroll, last))
        body += [render.clip(line, columns) for line in screen.text[screen.scroll :]]
    else:
        body = _workers(status, screen, columns, room, now)
    body = body[:room] + [""] * (room - len(body))
    return [*body, foot]


def _workers(status: dict[str, Any], screen: Screen, columns: int, room: int, now: float) -> list[str]:
    head = [render.clip(line, columns) for line in render.summary(status, now)]
    if not status["arbiter"]["ready"] and len(head) > 1:
        head[1] = f"{_RED}{head[1]}{_PLAIN}"
    head[0] = f"{_BOLD}{head[0]}{_PLAIN}"
    titles = render.clip(render.headings(screen.sort, screen.descending), columns)
    body = [*head, "", f"{_REVERSE}{titles.ljust(columns)}{_PLAIN}"]
    workers = ordered(status, screen)
    # Notes go first when there is not room for all.
    notes = len(body) + sum(1 + len(render.worker_notes(one)) for one in workers) <= room
    for worker in workers:
        line = render.clip(render.worker_line(worker), columns)
        if worker["pid"] == screen.chosen:
            line = f"{_BOLD}{_REVERSE}{line.ljust(columns)}{_PLAIN}"
        elif worker["note"]:
            line = f"{_RED}{line}{_PLAIN}"
        body.append(line)
        if notes or worker["pid"] == screen.chosen:
            body += [
                f"{_DIM}{render.clip(f'    {note}', columns)}{_PLAIN}" for note in render.worker_notes(worker)
            ]
    if len(body) > room:
        hidden = len(body) - room + 1
        body = [*body[: room - 1], render.clip(f"    ... {hidden} more lines", columns)]
    return body


def _foot(screen: Screen, columns: int) -> str:
    if screen.asking:
        text = f"{screen.asking}? y/n"
    elif screen.message:
        text = screen.message
    elif screen.page == "text":
        text = "up/down scroll  any other key back"
    elif screen.page == "keys":
        text = "any key back"
    else:
        held = "HELD  " if screen.held else ""
        text = f"{held}?:keys s:sort up/down:choose t:stacks c:recycle k:kill +/-:scale R:reload q:quit"
    return f"{_REVERSE}{render.clip(render.clean(text), columns).ljust(columns)}{_PLAIN}"


class Top:
    """The keys and what they do. `ask` sends a word to the arbiter."""

    def __init__(self, ask: Callable[..., dict[str, Any]], clock: Callable[[], float] = time.time) -> None:
        self.screen = Screen()
        self.done = False
        self._ask = ask
        self._clock = clock
        self._status: dict[str, Any] = ask("status")
        self._actions: dict[str, Callable[[], None]] = {
            "q": self._quit,
            "up": lambda: self._choose(-1),
            "down": lambda: self._choose(1),
            "s": lambda: self._sort(1),
            "S": lambda: self._sort(-1),
            "o": self._turn,
            "t": self._stacks,
            "c": lambda: self._act_on("recycle"),
            "k": lambda: self._confirm("kill"),
            "R": lambda: self._confirm("reload"),
            "+": lambda: self._act("scale", to="+1"),
            "-": lambda: self._act("scale", to="-1"),
            "d": lambda: self._act("undrain" if self._status["arbiter"]["drained"] else "drain"),
            "e": self._events,
            " ": self._hold,
            "?": lambda: self._page("keys"),
            "h": lambda: self._page("keys"),
        }

    def look(self) -> None:
        """Fetch the status anew, unless the picture is held."""
        if not self.screen.held:
            self._status = self._ask("status")
            if self.screen.chosen not in {one["pid"] for one in self._status["workers"]}:
                self.screen.chosen = 0

    def paint(self, columns: int, lines: int) -> list[str]:
        """The screen now."""
        return paint(self._status, self.screen, columns, lines, self._clock())

    def press(self, key: str) -> None:
        """Do what a key says."""
        screen = self.screen
        screen.message = ""
        if screen.asking:
            word, screen.asking = screen.asking.split(" ")[0], ""
            if key == "y":
                if word == "kill":
                    self._act_on(word)
                else:
                    self._act(word)
        elif screen.page == "text" and key in ("up", "down"):
            screen.scroll += 1 if key == "down" else -1
        elif screen.page != "workers" and key != "q":
            screen.page = "workers"
        elif key in self._actions:
            self._actions[key]()

    # -- choosing

    def _quit(self) -> None:
        self.done = True

    def _hold(self) -> None:
        self.screen.held = not self.screen.held

    def _page(self, name: str) -> None:
        self.screen.page = name

    def _choose(self, step: int) -> None:
        pids = [one["pid"] for one in ordered(self._status, self.screen)]
        if not pids:
            return
        if self.screen.chosen not in pids:
            self.screen.chosen = pids[0 if step > 0 else -1]
        else:
            place = pids.index(self.screen.chosen) + step
            self.screen.chosen = pids[max(0, min(place, len(pids) - 1))]

    def _sort(self, step: int) -> None:
        keys = [column.key for column in COLUMNS]
        self.screen.sort = keys[(keys.index(self.screen.sort) + step) % len(keys)]
        self.screen.descending = self.screen.sort not in ("slot", "pid", "generation", "state")

    def _turn(self) -> None:
        self.screen.descending = not self.screen.descending

    # -- acting

    def _confirm(self, word: str) -> None:
        if word == "kill" and not self.screen.chosen:
            self.screen.message = "choose a worker first: up, down"
        else:
            self.screen.asking = f"kill worker with pid {self.screen.chosen}" if word == "kill" else word

    def _act_on(self, word: str) -> None:
        if not self.screen.chosen:
            self.screen.message = "choose a worker first: up, down"
        else:
            self._act(word, worker=str(self.screen.chosen))

    def _act(self, word: str, **arguments: Any) -> None:
        answer = self._try(word, **arguments)
        if answer is not None:
            self.screen.message = (answer.get("said") or f"{word}: done").splitlines()[0]

    def _stacks(self) -> None:
        if not self.screen.chosen:
            self.screen.message = "choose a worker first: up, down"
            return
        answer = self._try("stacks", worker=str(self.screen.chosen))
        if answer is not None:
            self._show(answer["worker"], render.clean_lines(answer["stacks"]))

    def _events(self) -> None:
        answer = self._try("events", count=200)
        if answer is not None:
            lines = [render.happening_line(event) for event in answer["events"]]
            self._show("Events, the latest first", "\n".join(reversed(lines)))

    def _show(self, title: str, text: str) -> None:
        self.screen.page, self.screen.title, self.screen.scroll = "text", title, 0
        self.screen.text = tuple(text.splitlines())

    def _try(self, word: str, **arguments: Any) -> dict[str, Any] | None:
        try:
            return self._ask(word, **arguments)
        except Fault as fault:
            self.screen.message = str(fault).splitlines()[0]
            return None


def run(client: Client) -> int:
    """Until `q`. Raises `ControlError` when the arbiter goes away."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.stderr.write("arbiterctl: top wants a terminal; `arbiterctl status` does not\n")
        return ControlStatus.USAGE
    shown = Top(client.ask)
    with _terminal():
        due = time.monotonic() + INTERVAL
        while not shown.done:
            size = shutil.get_terminal_size()
            _put(shown.paint(size.columns, size.lines))
            if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
                data = os.read(sys.stdin.fileno(), 64)
                if not data:
                    break  # the terminal is gone
                for key in keys(data.decode("utf-8", "replace")):
                    shown.press(key)
            if time.monotonic() >= due:
                due = time.monotonic() + INTERVAL
                shown.look()
    return ControlStatus.OK


def keys(text: str) -> Iterator[str]:
    """What was typed, key by key; arrows by name, unknown sequences left out."""
    while text:
        found = next((sequence for sequence in _SPECIAL if text.startswith(sequence)), "")
        if found and (found != "\x1b" or len(text) == 1):
            yield _SPECIAL[found]
            text = text[len(found) :]
        elif found:
            return
        else:
            yield text[0]
            text = text[1:]


def _put(lines: list[str]) -> None:
    # Over what is there, each line to its end: nothing flickers.
    sys.stdout.write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")
    sys.stdout.flush()


@contextmanager
def _terminal() -> Iterator[None]:
    """The terminal for ourselves: no echo, no line editing, another screen. It is given back at the end, also
    when we are told to end, and while we are suspended (Ctrl-Z).
    """
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)

    def take() -> None:
        tty.setcbreak(fd)
        os.write(sys.stdout.fileno(), _ENTER)

    def give_back() -> None:
        with suppress(OSError, termios.error):  # the terminal may be gone
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
            os.write(sys.stdout.fileno(), _LEAVE)

    def suspend(number: int, frame: object) -> None:
        give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # until somebody lets us go on
        signal.signal(signal.SIGTSTP, suspend)
        take()

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    handlers = {signal.SIGTSTP: suspend, signal.SIGTERM: end, signal.SIGHUP: end}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        take()
        yield
    except KeyboardInterrupt:
        pass
    finally:
        give_back()
        for number, handler in previous.items():
            signal.signal(number, handler)
