"""The dates of log lines and answers."""

from __future__ import annotations

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st

from arbiter.observe.lines import http_date


@given(st.integers(min_value=0, max_value=253402300799))
def test_http_date(second: int) -> None:
    """http.md 46: an IMF-fixdate in GMT, in English whatever the locale."""
    assert http_date(second + 0.9) == formatdate(second, usegmt=True).encode()
