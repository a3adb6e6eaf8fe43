"""What distinguishes the copies of a class, in arguments and environment; and the signal that ends them."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.config import placeholders, values
from maitred.config.error import ConfigError

KNOWN = placeholders.values("web", 2, 17)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{server}", "3"),
        ("/run/{class}-{server}.pid", "/run/web-3.pid"),
        ("91{server:02}", "9103"),
        ("{incarnation:05}{server}", "000173"),
        ("{{server}}", "{server}"),
        ("{{server:02}} {server}", "{server:02} 3"),
        ("{{server}", "{3"),
        ("{server}}", "3}"),
    ],
)
def test_what_each_stands_for(written, meant):
    assert placeholders.fill(written, KNOWN) == meant


@pytest.mark.parametrize(
    "text", ["", "{}", "{0}", '{"server": 1}', "{servers}", "{ server }", "{{x}}", "{class:02}", "{server!r}", "%{a}"]
)
def test_other_braces_are_the_programs(text):
    assert placeholders.fill(text, KNOWN) == text


@given(st.text(alphabet="{}:0servclani"))
def test_no_text_is_an_error(text):
    placeholders.fill(text, KNOWN)


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "term", "Int", "QUIT", "USR1"])
def test_a_stop_signal_is_one_that_a_program_can_heed(name):
    assert values.stop_signal(name) == getattr(signal, "SIG" + name.upper().removeprefix("SIG"))
    for wrong in ("KILL", "STOP", "SIG", "", "15", 15, None, "SIGSIGTERM", "_BLOCK"):
        with pytest.raises(ConfigError, match="the name of a signal"):
            values.stop_signal(wrong)
