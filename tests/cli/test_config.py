"""The Configuration Utility at the command line: what it prints, and its exit codes."""

import json
import tomllib

import pytest

from maitred.config.schema import schema

SHOP = """
[durations]
grace = 2
[[class]]
name = "web"
module = "json"
listen = 8000
static = 2
[[class]]
name = "api"
module = "json"
static = 1
dynamic = 3
"""


@pytest.fixture
def shop(tmp_path):
    """Write a file."""

    def write(text=SHOP, name="shop.toml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_a_file_that_is_right_is_summed_up(maitred, shop, own_directory):
    assert maitred("config", "check", shop()) == (
        0,
        f"{shop()}: right: 2 classes, 3 static and 3 dynamic servers\n",
        "",
    )
    assert not own_directory.exists(), "it only looks"


def test_every_mistake_is_a_line_and_2(maitred, shop):
    path = shop(SHOP.replace("grace = 2", "grace = -2").replace("static = 1", "statik = 1"))
    assert maitred("config", "check", path) == (
        2,
        "",
        f"maitred: {path}:3: durations.grace: -2 will not do: should be a number of seconds from 0 to 1000000\n"
        f"maitred: {path}:12: class 'api': statik: unknown key; did you mean 'static'?\n",
    )
    for command in (["show", path], ["diff", shop("", "other.toml"), path], ["check", "/no/such/file"]):
        code, out, err = maitred("config", *command)
        assert (code, out) == (2, "") and err.count("\n") == 1


def test_each_value_is_shown_with_its_origin(maitred, shop):
    code, out, err = maitred("config", "show", shop())
    assert (code, err) == (0, "")
    rows = out.splitlines()
    for row in (
        'name = "shop"  # default',
        "# log_directory: none",
        "grace = 2  # shop.toml:3",
        "kill_delay = 5  # default",
        'listen = ["*:8000"]  # shop.toml:7',
        "static = 1  # shop.toml:12",
        "max_clients = 64  # default",
    ):
        assert row in rows
    assert [cls["static"] for cls in tomllib.loads(out)["class"]] == [2, 1]


def test_a_difference_is_by_class_and_key_and_1(maitred, shop):
    new = SHOP.replace('"api"', '"jobs"').replace("grace = 2", "grace = 3").replace("8000", "8001")
    code, out, err = maitred("config", "diff", shop(), shop(new + "memory_limit = '64M'", "new.toml"))
    assert (code, out.splitlines()) == (
        1,
        [
            "  durations: grace: 2 -> 3",
            '  class web: listen: ["*:8000"] -> ["*:8001"]',
            "- class api",
            "+ class jobs",
        ],
    )
    assert err == "A running instance keeps its configuration: stop it and start it to have these.\n"


def test_what_means_the_same_does_not_differ(maitred, shop):
    """Whatever the file is called, and however it is written."""
    same = SHOP.replace("8000", "':8000'").replace("grace = 2", "grace = 2.0\nkill_delay = 5")
    assert maitred("config", "diff", shop(), shop(same, "new.toml")) == (0, "", "")


def test_the_schema_is_printed(maitred):
    code, out, err = maitred("config", "schema")
    assert (code, json.loads(out), err) == (0, schema(), "")
