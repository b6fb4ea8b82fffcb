"""The kinds of the settings about preloading.

Neighbours: `sections.preload` uses them. Its one rule: as in `kinds`.
"""

from __future__ import annotations

from arbiter.config.kinds import Kind, Text, YesNo
from arbiter.config.unreadable import Unreadable


class Preload(Kind[str]):
    """`auto`, or True or False, which are "on" and "off" then; on the command line a switch."""

    switch = True
    noun = "auto, True or False"
    metavar = "auto|on|off"
    example = "auto, True or False"
    annotation = "str"

    def read(self, value: object) -> str:
        if value == "auto":
            return "auto"
        try:
            return "on" if YesNo().read(value) else "off"
        except Unreadable:
            raise self.wrong() from None

    def show(self, value: str) -> str:
        return {"on": "True", "off": "False"}.get(value, repr(value))


class WarmUp(Text):
    """A path, or a URL of http or https."""

    noun = "a path or a URL"
    metavar = "PATH"
    example = 'a path such as "/login/", or a URL such as "https://www.example.com/login/"'

    def read(self, value: object) -> str:
        from urllib.parse import urlsplit  # few say anything here

        text = super().read(value).strip()
        try:
            url = urlsplit(text)
            port = url.port
        except ValueError:
            raise self.wrong() from None
        is_url = url.scheme in ("http", "https") and bool(url.hostname) and port != 0
        if " " in text or not text.isascii() or not (text.startswith("/") or is_url):
            raise self.wrong()
        return text
