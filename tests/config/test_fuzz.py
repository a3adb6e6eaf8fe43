"""Whatever a configuration holds, it is understood or refused in one line, and never anything else.

`test_toml_file` and `test_options` ask this of drawn documents and drawn values.  Here it is asked of files as people
spoil them: a good one with something added, lost or changed at any place; and of command lines in the same way.  What
is good is written as TOML in several ways and must be read as what was meant.
"""

import json
from dataclasses import astuple, fields

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.config.test_toml_file import CPU

from maitred.cli.run import OPTIONS, split
from maitred.config import toml_file, values
from maitred.config.error import ConfigError
from maitred.config.model import Program
from maitred.config.options import Options, configure
from maitred.core import monitor
from maitred.core.timing import Durations

KEPT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # a directory, which each writes to again
MORE = settings(KEPT, max_examples=400)


def usable(config):
    """The Monitor's machine takes what was read."""
    assert monitor.initial(*config.core()).phase is monitor.Phase.NEW


def refused(error, where=""):
    """It names a problem, and the place."""
    said = str(error)
    assert said.startswith(where) and said.removeprefix(where).strip()


# ================================================================ files

GOOD = f"""name = "personnel"
durations = {{ queue_timeout = 1, hand_off_timeout = 2.5, backoff_first = 0.5 }}

[[element]]
name = "left"
cpus = [{CPU}]
weight = 3

[[class]]
name = "employee_svc"  # as in FIG. 13
module = "http.server"
args = ["4049", '']
listen = ["4049", "[::1]:4050"]
static = 2
elements = ["left"]
interpreter_options = "-X utf8"
environment = {{ LANG = "C.UTF-8" }}
memory_limit = "512M"
"""
SIGNS = "\n\"'=[]{}.,#-_\\\0\r\x7f\ufeffé"
WORDS = ["[[", '"""', "1e999", "nan", "9" * 30, "0x", "true", "07:32:00", "1979-05-27", "[[class]]", "name", "static="]
PIECES = st.sampled_from([*SIGNS, *WORDS])
CHANGES = st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), PIECES | st.text(max_size=3)), max_size=3)


def changed(text, changes):
    """The text with, at each place, so many characters replaced by the piece."""
    for at, lost, piece in changes:
        text = text[:at] + piece + text[at + lost :]
    return text


@MORE
@given(CHANGES)
def test_a_file_with_slips_is_understood_or_refused(tmp_path, changes):
    path = tmp_path / "personnel.toml"
    path.write_bytes(changed(GOOD, changes).encode(errors="surrogatepass"))
    try:
        config = toml_file.load(str(path))
    except ConfigError as error:
        refused(error, f"{path}:")
    else:
        usable(config)


def test_the_good_file_is_understood(tmp_path):
    path = tmp_path / "personnel.toml"
    path.write_text(GOOD)
    usable(toml_file.load(str(path)))


# ================================================================ and back

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NAME = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True)
SECONDS = st.integers(1, 1000) | st.floats(0.5, 1000)
CLASS = st.fixed_dictionaries(
    {"name": NAME, "module": st.just("json")},
    optional={
        "args": st.lists(TEXT, max_size=3),
        "static": st.integers(1, values.MAX_SERVERS),
        "dynamic": st.integers(0, values.MAX_SERVERS),
        "max_clients": st.integers(1, values.MAX_CLIENTS),
        "waiting_limit": st.integers(1, values.MAX_WAITING),
        "memory_limit": st.integers(values.MIN_MEMORY, (1 << 62) - 1),
        "environment": st.dictionaries(TEXT.filter(lambda key: key and "=" not in key), TEXT, max_size=3).filter(
            lambda table: "MAITRED_SERVER" not in table
        ),
    },
)
FREE = [field.name for field in fields(Durations) if not field.name.startswith("backoff")]  # which bind each other
DOCUMENTS = st.fixed_dictionaries(
    {"name": NAME, "class": st.lists(CLASS, min_size=1, max_size=3, unique_by=lambda cls: cls["name"])},
    optional={"durations": st.dictionaries(st.sampled_from(FREE), SECONDS, max_size=5)},
)


def quoted(text):
    """A basic string: JSON's escapes are TOML's, but for DEL, which JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def inline(value):
    """The value as TOML, on one line."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{quoted(key)} = {inline(item)}' for key, item in value.items())} }}"
    return repr(value)


def as_toml(document, headed):
    """The document as TOML; tables under headings, or all within lines."""
    if not headed:
        return "".join(f"{key} = {inline(value)}\n" for key, value in document.items())
    lines = [f"name = {inline(document['name'])}"]
    if "durations" in document:
        lines += ["[durations]", *(f"{key} = {inline(value)}" for key, value in document["durations"].items())]
    for cls in document["class"]:
        lines += ["[[class]]", *(f"{quoted(key)} = {inline(value)}" for key, value in cls.items())]
    return "\n".join(lines)


@KEPT
@given(DOCUMENTS, st.booleans())
@example({"name": "a", "class": [{"name": "b", "module": "json", "args": ['"\\\x7f\t\u2028é\U0001f600']}]}, True)
def test_what_is_written_is_what_is_read(tmp_path, document, headed):
    path = tmp_path / "written.toml"
    path.write_text(as_toml(document, headed), newline="")
    config = toml_file.load(str(path))
    assert config.name == document["name"]
    assert config.durations == Durations(**{key: float(each) for key, each in document.get("durations", {}).items()})
    for cls, meant in zip(config.classes, document["class"], strict=True):
        assert cls.program == Program("module", "json", tuple(meant.get("args", ())))
        assert cls.environment == tuple(sorted(meant.get("environment", {}).items()))
        for key in meant.keys() - {"module", "args", "environment"}:
            assert getattr(cls, key) == meant[key]
    assert astuple(toml_file.load(str(path))) == astuple(config)


# ================================================================ command lines

GOOD_LINE = ["-b", "127.0.0.1:8000", "--static", "3", "--grace=1.5", "--max-clients", "7", "-m", "http.server", "80"]
ARGUMENTS = st.one_of(
    st.text(max_size=6),
    st.sampled_from([flag for option in OPTIONS if option.name != "config" for flag in option.flags]),
    st.sampled_from(
        ["-", "--", "-m", "-h", "=", "--static=", "--grace=nan", "-b8000", "1e400", "-1", "٣", "0x10", "\0", "/"]
    ),
)
SLIPS = st.lists(
    st.tuples(st.integers(0, len(GOOD_LINE)), st.integers(0, 2), st.lists(ARGUMENTS, max_size=2)), max_size=3
)


@MORE
@given(SLIPS)
def test_a_command_line_with_slips_is_understood_or_refused(tmp_path, monkeypatch, slips):
    monkeypatch.chdir(tmp_path)
    words = GOOD_LINE
    for at, lost, more in slips:
        words = words[:at] + more + words[at + lost :]
    try:
        line = split(words)
        if line.help or line.kind is None:
            return
        usable(configure(Options(Program(line.kind, line.program, line.args), line.bind, line.single)))
    except ConfigError as error:
        refused(error)


@pytest.mark.parametrize("bad", ["a\nb", "\x1b[2J", "\u202e", "x" * 10_000, "\udcff"])
def test_what_is_odd_is_refused_in_one_printable_line(bad):
    for words in (["-b", bad, "-m", "json"], ["--static", bad, "-m", "json"], ["--name", bad, "-m", "json"]):
        line = split(words)
        with pytest.raises(ConfigError) as caught:
            configure(Options(Program("module", "json", ()), line.bind, line.single))
        said = str(caught.value)
        assert said.isprintable() and len(said) < 300
