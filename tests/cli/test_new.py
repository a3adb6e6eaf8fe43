"""The wizard: each answer arrives in the files, a wrong one is asked for again, and an interruption leaves nothing.

That the files start a system which serves is shown in `tests.system.test_start_files`.
"""

import io
import os
import re
import sys
import tomllib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.config.test_toml_file import VALUES

from maitred.cli import new
from maitred.config import checks, toml_file
from maitred.config.error import ConfigError

CPUS = [f"cpu{cpu}" for cpu in checks.available_cpus()]
ANSWERS = f"""
name = "shop"
primary = "{CPUS[0]}"
backups = ["{CPUS[-1]}"]
log_directory = "logs"
weights = {{ {CPUS[0]} = 3 }}
interpreter = "python3"

[[class]]
name = "web"
kind = "module"
path = ["lib", "more.zip"]
program = ["json.tool", "a b", ""]
address = "127.0.0.1"
ports = [8000, 8001]
max_clients = 7
static = 2
dynamic = 3
elements = ["{CPUS[0]}"]
interpreter_options = ["-X", "utf8"]
environment = {{ LANG = "C.UTF-8", MORE = "a = 'b'" }}
memory_start = "64M"
memory_limit = "512M"

[[class]]
name = "c"
kind = "executable"
program = "true --flag {{server}}"
ports = "9000"
static = 1
"""


@pytest.fixture
def wizard(maitred, tmp_path, monkeypatch):
    """Run it in a directory of its own, with these answers and what is typed."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*options, answers=None, typed=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        if answers is not None:
            (tmp_path / "answers.toml").write_text(answers)
            options = (*options, "--answers", tmp_path / "answers.toml")
        return maitred("config", "new", *options)

    return run


def test_every_item_of_the_answers_arrives(wizard, tmp_path):
    code, out, err = wizard("shop.toml", "--defaults", answers=ANSWERS)
    assert (code, err) == (0, "") and "Servers: 3 static, 3 dynamic; classes: 2." in out
    work = tmp_path / "work"
    text = (work / "shop.toml").read_text()
    config = toml_file.look("shop.toml").config
    web, own = config.classes
    assert (config.name, config.log_directory) == ("shop", work / "logs")
    assert [element.weight for element in config.elements] == [3, *[1] * (len(CPUS) - 1)]
    assert (web.name, web.program.kind, web.program.name) == ("web", "module", "json.tool")
    assert web.program.args == ("a b", "")
    assert web.listeners == ((8000, "127.0.0.1:8000"), (8001, "127.0.0.1:8001"))
    assert (web.static, web.dynamic, web.max_clients, web.elements) == (2, 3, 7, (CPUS[0],))
    assert os.path.basename(web.interpreter) == "python3" and web.interpreter_options == ("-X", "utf8")
    assert web.path == (str(work / "lib"), str(work / "more.zip")) and os.path.samefile(web.directory, work)
    assert dict(web.environment) == {"LANG": "C.UTF-8", "MORE": "a = 'b'"} and web.memory_limit == 512 << 20
    assert (own.program.kind, own.program.args, own.listeners) == (
        "executable",
        ("--flag", "{server}"),
        ((9000, "*:9000"),),
    )
    assert f"# Processing element of the Monitor: {CPUS[0]}; backups: {CPUS[-1]}. Recorded only:" in text
    assert "# Memory at the start: 64M. Recorded only: Python's heap has none." in text
    assert "# Servers: 3 static, 3 dynamic; classes: 2." in text
    modes = {path.name: path.stat().st_mode & 0o777 for path in work.iterdir()}
    assert modes == {"shop.toml": 0o644, "start-shop.sh": 0o755, "shop.service": 0o644}


def test_each_question_can_be_answered_in_advance():
    """So that the test above tests what its name claims."""
    answers = tomllib.loads(ANSWERS)
    assert {question.key for question in new.GENERAL} - answers.keys() == {"classes"}, "the tables are counted"
    assert {question.key for question in new.CLASS} == answers["class"][0].keys()


def test_a_wrong_answer_is_explained_and_asked_for_again(wizard, tmp_path):
    (tmp_path / "work" / "app.py").touch()
    general = ["?", "no name", "desk", "", "", "", "cpu=1", "", "", "2"]
    first = ["", "one", "", "", "no-such.py", "app.py --x", "", "99999", "8000", "0", "5", "2", "", *[""] * 5]
    second = ["one", "two", "module", "", "json", "", "8000", "8001", "", "1", "4", *[""] * 5]
    code, out, err = wizard(typed="\n".join([*general, *first, *second]) + "\n")
    assert (code, err) == (0, ""), out
    for said in (
        "Names the instance in `maitred status`",
        "'no name' will not do",
        f"'cpu' will not do: should be one of {', '.join(CPUS)}",
        "an answer is needed (? for help)",
        "no-such.py does not exist",
        "'*:99999' will not do",
        "0 will not do: should be a whole number from 1",
        "'one' is the name of another class already",
        "collides with *:8000 of another class",
        "Servers: 3 static, 4 dynamic; classes: 2.",
    ):
        assert said in " ".join(out.split())
    one, two = toml_file.look("maitred.toml").config.classes
    assert (one.program.args, one.max_clients, one.static) == (("--x",), 5, 2)
    assert (two.program.name, two.dynamic) == ("json", 4)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("static = 2", "static = 'many'"), ":17: class no. 1: static: 'many' will not do: should be a whole number"),
        (("static = 2", "statik = 2"), ":17: class no. 1: statik: unknown key; did you mean 'static'?"),
        (("weights =", "wieghts ="), ":6: wieghts: unknown key; did you mean 'weights'?"),
        (('ports = "9000"\n', ""), ":25: class no. 2: ports: is missing: Ports. One or more"),
        (('"9000"', '"8001"'), ":29: class no. 2: ports: *:8001 collides with 127.0.0.1:8001 of another class"),
        (("[8000, 8001]", "[8000, 8000]"), ":15: class no. 1: ports: 127.0.0.1:8000 is given twice"),
        (('"true --flag', "\"true '--flag"), ":28: class no. 2: program: "),
        (("name = ", "name = = "), ":2:8: Invalid value"),
        (('"512M"', '"1K"'), ":23: class no. 1: memory_limit: '1K' will not do"),
        (("[[class]]", "[class]"), ":"),
    ],
)
def test_a_wrong_answer_in_the_file_names_its_line_and_leaves_nothing(wizard, tmp_path, change, complaint):
    code, _, err = wizard("shop.toml", "--defaults", answers=ANSWERS.replace(*change))
    assert code == 2 and err.startswith(f"maitred: {tmp_path}/answers.toml{complaint}") and err.count("\n") == 1
    assert list((tmp_path / "work").iterdir()) == []


def test_an_end_of_input_leaves_nothing(wizard, tmp_path):
    assert wizard("shop.toml", typed="shop\n")[::2] == (
        2,
        "maitred: the input ended before an answer to: Processing element of the Monitor\n",
    )
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("after", range(4))
def test_an_interruption_leaves_nothing(wizard, tmp_path, monkeypatch, after):
    """Ctrl-C at a question, or while the first, second or third file is written."""
    written = []

    def interrupt(*given, **more):
        written.append(given)
        if len(written) > after - 1:
            raise KeyboardInterrupt
        return write(*given, **more)

    write = new.Path.write_text
    if after:
        monkeypatch.setattr(new.Path, "write_text", interrupt)
    else:
        monkeypatch.setattr("rich.prompt.Prompt.ask", interrupt)
        return_code = wizard("shop.toml")[0]
    if after:
        (tmp_path / "answers.toml").write_bytes(ANSWERS.encode())
        return_code = wizard("shop.toml", "--defaults", "--answers", tmp_path / "answers.toml")[0]
    assert return_code == 130
    assert list((tmp_path / "work").iterdir()) == []


def test_files_that_are_there_are_kept(wizard, tmp_path):
    (tmp_path / "work" / "start-shop.sh").write_text("mine")
    code, _, err = wizard("shop.toml", "--defaults", answers=ANSWERS)
    assert code == 2 and "start-shop.sh is there already; --force replaces it" in err
    assert [path.read_text() for path in (tmp_path / "work").iterdir()] == ["mine"]
    assert wizard("shop.toml", "--defaults", "--force", answers=ANSWERS)[0] == 0
    assert wizard("shop", "--defaults", answers=ANSWERS)[0] == 2, "it ends in .toml"


CHANGES = st.dictionaries(
    st.sampled_from([question.key for question in new.CLASS] + ["x"]), VALUES, min_size=1, max_size=3
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(general=st.dictionaries(st.sampled_from([q.key for q in new.GENERAL]), VALUES, max_size=2), changes=CHANGES)
@example(general={}, changes={"path": [""]})
@example(general={}, changes={"environment": {"a\0": 1}})
def test_whatever_the_answers_are_they_are_used_or_refused_in_one_line(tmp_path, general, changes):
    document = tomllib.loads(ANSWERS)
    document.update(general)
    document["class"][0].update(changes)
    asker = new.Asker(None, defaults=True, console=Silent())
    asker.content = document
    try:
        text = new.Wizard(asker, str(tmp_path / "any.toml")).ask_all()
    except ConfigError as error:
        refused(error)
    else:
        assert toml_file.examine(tomllib.loads(text), str(tmp_path / "any.toml"), text).problems == ()


def refused(error):
    """The file and the key are named; what is not printable in an answer is escaped where the line is printed."""
    assert re.match(r"--defaults: (class no\. 1: )?[a-z_]+: .", str(error))


class Silent:
    def print(self, *words, **how):
        pass
