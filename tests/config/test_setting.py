"""What follows from a declaration."""

from __future__ import annotations

import pytest

from arbiter.config.hook import Hook
from arbiter.config.kinds import Text
from arbiter.config.quantities import Duration, Integer, Size
from arbiter.config.setting import Setting
from arbiter.config.unreadable import Unreadable


def test_names_flags_and_variables() -> None:
    setting = Setting(
        "some_thing", Text(), "x", "Text.", flags=("-s", "--some"), aliases=("thing",), variables=("SOME",)
    )
    assert setting.names == ("some_thing", "thing")
    assert setting.flag == "--some"
    assert setting.environment == ("ARBITER_SOME_THING", "ARBITER_THING", "SOME")
    assert Setting("hook", Hook("server"), None, "Text.").environment == ()
    assert Setting("hook", Hook("server"), None, "Text.").flag == ""


def test_an_optional_setting_may_be_unset() -> None:
    setting = Setting("log", Text(), None, "Text.")
    assert setting.read(None) is None
    assert setting.read("") is None
    assert setting.show(None) == "None"
    assert setting.annotation == "str | None"
    assert Setting("log", Text(), None, "Text.", derived="the name").annotation == "str"
    with pytest.raises(Unreadable, match="cannot be unset"):
        Setting("log", Text(), "-", "Text.").read(None)


def test_bounds() -> None:
    setting = Setting("n", Integer(), 3, "Text.", least=2, most=5, zero=True)
    assert [setting.read(n) for n in (0, 2, "5")] == [0, 2, 5]
    for wrong, word in ((1, "below"), (6, "above"), (-1, "below")):
        with pytest.raises(Unreadable, match=word) as caught:
            setting.read(wrong)
        assert caught.value.remedy == "Write a whole number from 2 to 5, or 0."
    with pytest.raises(Unreadable, match="below"):
        Setting("n", Integer(), 3, "Text.", least=1).read(0)


def test_bounds_in_words() -> None:
    assert Setting("n", Duration(), 3, "Text.", least=0.5).bounds == "a duration of at least 0.5"
    assert Setting("n", Size(), 3, "Text.", most=1024).bounds == 'a size of at most "1K"'
    assert Setting("n", Integer(), 3, "Text.").bounds == ""
