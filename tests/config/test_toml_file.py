"""A configuration file: what it means where it is right, and the error where it is not."""

import dataclasses
import os
import re
import signal
import sys
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maitred.config import checks, instances, keys, toml_file
from maitred.config.error import ConfigError, ConfigErrors
from maitred.config.model import Program
from maitred.core import monitor
from maitred.core.timing import Durations

CPU = checks.available_cpus()[0]

FIG_13 = """
[[class]]
name = "employee_svc"
module = "http.server"
args = ["4049"]
listen = 4049

[[class]]
name = "manager_svc"
script = "manager.py"
listen = ["127.0.0.1:6157", "[::1]:6157"]
"""

EVERYTHING = f"""
name = "personnel"
log_directory = "logs"
control = "x.sock"
trace = "x.trace"
verify = false

[durations]
queue_timeout = 1
hand_off_timeout = 2.5
request_timeout = 12
create_delay = 0.02
delete_delay = 3
rest = 0.2
accept_retry = 0.3
audit_period = 4
backoff_first = 0.5
backoff_cap = 6
stable_after = 7
start_warning = 8
grace = 9
kill_delay = 11

[[element]]
name = "left"
cpus = [{CPU}]
weight = 3

[[element]]
name = "right"
cpus = "{CPU}"

[[class]]
name = "employee_svc"
script = "manager.py"
args = ["--verbose", ""]
listen = "4049"
static = 2
dynamic = 3
max_clients = 10
waiting_limit = 20
elements = ["right"]
interpreter = "{sys.executable}"
interpreter_options = ["-X", "utf8"]
path = ["lib"]
directory = "logs"
environment = {{ LANG = "C.UTF-8" }}
memory_limit = "512M"
stop_signal = "INT"
"""


MISTAKES = """naem = "x"
[durations]
grace = -1
"a\\nb" = 1

[[element]]
name = "left"
[[element]]
name = "no name"
[[class]]
name = "web"
module = "json"
static = 0
listen = [
  "8000:x",
]
[[class]]
name = "api"
elements = ["right"]
path = 3
module = "mine"
[[class]]
"""


@pytest.fixture
def load(tmp_path):
    """Write a file and read it."""
    (tmp_path / "manager.py").touch()
    (tmp_path / "logs").mkdir()

    def write_and_load(text, **options):
        path = tmp_path / "personnel.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return toml_file.load(str(path), **options)

    return write_and_load


def test_figure_13_is_two_classes_with_a_port_each(load, tmp_path, own_directory):
    config = load(FIG_13)

    employee, manager = config.classes
    assert employee.program == Program("module", "http.server", ("4049",))
    assert employee.listeners == ((4049, "*:4049"),) and employee.fixed
    assert manager.program == Program("script", str(tmp_path / "manager.py"), ())
    assert manager.listeners == ((6157, "127.0.0.1:6157"), (6157, "[::1]:6157"))
    assert config.name == "personnel"
    assert config.control == own_directory / "personnel.sock"
    assert own_directory.stat().st_mode & 0o777 == 0o700


def test_the_defaults_are_those_of_the_documentation(load):
    config = load(FIG_13)
    cls = config.classes[0]

    cpus = checks.available_cpus()
    assert (cls.static, cls.dynamic, cls.max_clients, cls.waiting_limit) == (len(cpus), 0, 64, 1024)
    assert [element.cpus for element in config.elements] == [(cpu,) for cpu in cpus]
    assert cls.elements == tuple(f"cpu{cpu}" for cpu in cpus)
    assert cls.interpreter == sys.executable
    assert config.durations == Durations()
    assert (config.trace, config.log_directory, cls.directory, cls.memory_limit) == (None, None, None, None)


def test_every_key_arrives(load, tmp_path):
    config = load(EVERYTHING)
    cls = config.classes[0]

    assert config.name == "personnel"
    assert config.log_directory == tmp_path / "logs"
    assert config.control == tmp_path / "x.sock"
    assert config.trace == tmp_path / "x.trace"
    assert dataclasses.astuple(config.durations) == (1, 2.5, 12, 0.02, 3, 0.2, 0.3, 4, 0.5, 6, 7, 8, 9, 11)
    assert [dataclasses.astuple(element) for element in config.elements] == [("left", (CPU,), 3), ("right", (CPU,), 1)]
    assert dataclasses.astuple(cls) == (
        "employee_svc",
        ("script", str(tmp_path / "manager.py"), ("--verbose", "")),
        ((4049, "*:4049"),),
        True,
        2,
        3,
        10,
        20,
        ("right",),
        sys.executable,
        ("-X", "utf8"),
        (str(tmp_path / "lib"),),
        str(tmp_path / "logs"),
        (("LANG", "C.UTF-8"),),
        512 << 20,
        signal.SIGINT,
    )


def test_the_example_has_every_key():
    """So that the test above tests what its name claims."""
    for key in (*keys.TOP, *keys.ELEMENT, *keys.CLASS, *keys.DURATIONS):
        assert key.name in EVERYTHING or key.name in ("module", "program")
    assert keys.names(keys.DURATIONS) == tuple(field.name for field in dataclasses.fields(Durations))


def test_the_monitors_machine_takes_it(load):
    classes, weights = load(EVERYTHING).core()

    assert weights == (3, 1)
    assert classes == (monitor.ClassConfig(2, 3, 10, 20, (1,), ((4049, "*:4049"),), True),)
    assert monitor.initial(classes, weights).phase is monitor.Phase.NEW


def test_the_command_line_wins_for_control_and_trace(load, tmp_path):
    config = load(EVERYTHING, control=str(tmp_path / "other.sock"), trace=str(tmp_path / "other.trace"))

    assert config.control == tmp_path / "other.sock"
    assert config.trace == tmp_path / "other.trace"


def test_a_file_and_the_command_line_can_ask_for_steps_to_be_verified(load):
    assert load("verify = true\n" + CLASS).verify
    assert load("verify = false\n" + CLASS, verify=True).verify
    assert not load(CLASS).verify


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = [", "personnel.toml:1:6: "),
        ("a = 1\nb = = 2", "personnel.toml:2:5: "),
        ("a = 1\na = 2", "personnel.toml:2:6: "),
        (b"a = '\xff'", "personnel.toml:1: not UTF-8"),
        (f"a = {'9' * 5000}", "personnel.toml: "),
        (f"a = {'[' * 100_000}", "personnel.toml: nested too deeply"),
        (b"#" * ((1 << 20) + 1), "larger than 1 MiB"),
        ("x = 1\n[" + "a." * 8 + "a]", "personnel.toml:2: a dotted key of more than 8 parts"),
        ("'a'.\"b\" . c.d.e.f.g.h.i = 1", "personnel.toml:1: a dotted key of more than 8 parts"),
        ("x = { " + "a." * 300_000 + "a = 1 }", "personnel.toml:1: a dotted key of more than 8 parts"),
        ('"""' * 349_000, "personnel.toml:1:"),
    ],
)
def test_a_file_that_is_not_toml(load, text, complaint):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


PROGRAM = "[[class]]\nname = 'a'\nprogram = "


@pytest.mark.parametrize("command", ["./server", "server", "~/server"])
def test_a_program_is_found_beside_the_file_or_on_the_path(load, tmp_path, monkeypatch, command):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "server").write_text("#!/bin/sh\n")
    (tmp_path / "server").chmod(0o755)
    cls = load(f"{PROGRAM}['{command}', '--flag', '{{server}}']").classes[0]
    assert cls.program.kind == "executable"
    assert os.path.samefile(cls.program.name, tmp_path / "server")
    assert cls.program.args == ("--flag", "{server}")


PROGRAM_ERRORS = [
    ("'./server'", "class 'a': program: './server' will not do: should be a list"),
    ("[]", "class 'a': program: [] will not do: should be a command such as ['./server', '--flag']"),
    ("['']", "class 'a': program: [''] will not do: should be a command"),
    ("['./server', 1]", "class 'a': program: item 1: 1 will not do: should be a string"),
    ("['./no-such']", "no-such does not exist"),
    ("['no-such']", "no-such is not a command on the PATH; a file is named with a slash, as ./no-such"),
    ("['./logs']", "logs is a directory; name an executable file"),
    ("['./manager.py']\nargs = ['x']", "class 'a': args: is for module and script: write them into program"),
    (
        "['./manager.py']\npath = ['x']",
        "class 'a': path: is for module and script: program is run without an inter",
    ),
    ("['./manager.py']\nscript = 'manager.py'", "class 'a': say what to run: one of module, script and program"),
]


@pytest.mark.parametrize(("text", "complaint"), PROGRAM_ERRORS)
def test_a_program_that_will_not_do(load, text, complaint):
    with pytest.raises(ConfigError) as caught:
        load(PROGRAM + text)
    assert complaint in "\n".join(caught.value.problems)


def test_an_executable_under_the_key_of_scripts_is_seen(load, tmp_path):
    (tmp_path / "server").write_text("#!/bin/sh\n")
    with pytest.raises(
        ConfigError, match="server is no Python script: it is a program of its own, which `program` takes"
    ):
        load("[[class]]\nname = 'a'\nscript = 'server'")


CLASS = "[[class]]\nname = 'a'\nmodule = 'json'\n"


ERRORS = [
    ("", "class: is missing: give under a line [[class]]"),
    ("class = 3", "class: 3 will not do: should be tables, each under a line [[class]]"),
    ("naem = 'x'\n" + CLASS, "naem: unknown key; did you mean 'name'?"),
    ("xyzzy = 1\n" + CLASS, "xyzzy: unknown key; known are name, log_directory"),
    ("name = '../x'\n" + CLASS, "name: '../x' will not do: should be a name"),
    (
        "log_directory = 'no/where'\n" + CLASS,
        "no/where is not a directory, and cannot be made: there is no directory /",
    ),
    ("trace = 'nowhere/x'\n" + CLASS, "trace: "),
    ("trace = 'logs'\n" + CLASS, "/logs is a directory; name a file"),
    ("verify = 1\n" + CLASS, "verify: 1 will not do: should be true or false"),
    ("trace = 'x'\nverify = true\n" + CLASS, "verify: cannot be combined with a trace"),
    (f"control = '{'x' * 200}'\n" + CLASS, "a socket's path has 1 to 107"),
    ("control = 'manager.py'\n" + CLASS, "is not a socket; it is left alone"),
    ("durations = 3\n" + CLASS, "durations: 3 will not do"),
    ("durations.grcae = 3\n" + CLASS, "durations.grcae: unknown key; did you mean 'grace'?"),
    ("durations.grace = -1\n" + CLASS, "durations.grace: -1 will not do: should be a number of seconds from 0"),
    ("durations.grace = nan\n" + CLASS, "durations.grace: nan will not do"),
    ("durations.grace = inf\n" + CLASS, "durations.grace: inf will not do"),
    ("durations.grace = true\n" + CLASS, "durations.grace: True will not do"),
    ("durations.rest = 0\n" + CLASS, "durations.rest: 0 will not do: should be a number of seconds from 0.01"),
    ("durations.backoff_first = 31\n" + CLASS, "durations: backoff_first (31) is longer than backoff_cap (30)"),
    ("[[element]]\ncpus = [0]\n" + CLASS, "personnel.toml:1: element no. 1: name: is missing"),
    ("[[element]]\nname = 'e'\n" + CLASS, "element 'e': cpus: is missing"),
    ("[[element]]\nname = 'e'\ncpus = [60000]\n" + CLASS, "element 'e': cpus: CPU 60000 is not there"),
    ("[[element]]\nname = 'e'\ncpus = '60000-60002'\n" + CLASS, "CPUs 60000-60002 are not there"),
    (f"[[element]]\nname = 'e'\ncpus = {CPU}\nweight = 0\n" + CLASS, "element 'e': weight: 0 will not do"),
    (
        2 * f"[[element]]\nname = 'e'\ncpus = {CPU}\n" + CLASS,
        "personnel.toml:5: element 'e': name: 'e' is the name of another element on line 1 already",
    ),
    ("[[class]]\nname = 'a'", "class 'a': say what to run: one of module, script and program"),
    (CLASS + "script = 'manager.py'", "class 'a': say what to run: one of module, script and program"),
    (CLASS + CLASS, "personnel.toml:5: class 'a': name: 'a' is the name of another class on line 1 already"),
    (
        CLASS + "listen = 80\n" + CLASS.replace("'a'", "'b'") + "listen = ['127.0.0.1:80']",
        "class 'b': listen: 127.0.0.1:80 collides with *:80 of class 'a'",
    ),
    (CLASS + "listen = 99999", "class 'a': listen: 99999 will not do: should be [HOST:]PORT"),
    (CLASS + "listen = ['80', 'x:y']", "class 'a': listen: item 1: 'x:y' will not do"),
    (CLASS + f"listen = {list(range(1, 60_001))}", "class 'a': listen: too many addresses; at most 1024 fit"),
    (
        "".join(
            CLASS.replace("'a'", f"'a{n}'") + f"listen = {list(range(n, n + 120))}\n" for n in range(1, 1_081, 120)
        ),
        "class 'a961': listen: too many addresses; at most 1024 fit",
    ),
    (CLASS + "static = 0", "class 'a': static: 0 will not do: should be a whole number from 1 to 4096"),
    (CLASS + "static = '2'", "class 'a': static: '2' will not do"),
    (CLASS + "static = true", "class 'a': static: True will not do"),
    (CLASS + "dynamic = -1", "class 'a': dynamic: -1 will not do"),
    (
        CLASS + "max_clients = 16385",
        "class 'a': max_clients: 16385 will not do: should be a whole number from 1 to 16384",
    ),
    (CLASS + "max_clients = 0", "class 'a': max_clients: 0 will not do"),
    (CLASS + "waiting_limit = 0", "class 'a': waiting_limit: 0 will not do"),
    (CLASS + "waiting_limit = 1.5", "class 'a': waiting_limit: 1.5 will not do"),
    (CLASS + "elements = ['cpx']", "class 'a': elements: no element is named 'cpx'"),
    (CLASS + "elements = []", "class 'a': elements: [] will not do: should be at least one"),
    (CLASS + "args = 'x'", "class 'a': args: 'x' will not do: should be a list"),
    (CLASS + "args = [1]", "class 'a': args: item 0: 1 will not do: should be a string"),
    (CLASS + 'args = ["\\u0000"]', "NUL"),
    (CLASS + "interpreter = 'no-such-python'", "class 'a': interpreter: no-such-python is not an executable file"),
    (CLASS + "interpreter = './manager.py'", "manager.py is not an executable file"),
    (CLASS + "directory = 'nowhere'", "class 'a': directory: "),
    (CLASS + "memory_limit = '1K'", "class 'a': memory_limit: '1K' will not do"),
    (CLASS + "environment = { PORT = 8000 }", "class 'a': environment: PORT: 8000 will not do: should be a string"),
    ("[[class]]\nname = 'a'\nscript = 'managr.py'", "managr.py does not exist; did you mean "),
    ("[[class]]\nname = 'a'\nscript = 'logs'", "is a directory without a __main__.py"),
    ("[[class]]\nname = 'a'\nmodule = 'no_such_module_anywhere'", "class 'a': module: no module named"),
    ("[[class]]\nname = 'a'\nmodule = 'manager.py'", "to run a file, leave out -m: manager.py"),
    ("[[class]]\nname = 'a'\nmodule = 'a b'", "class 'a': module: 'a b' will not do: should be the dotted name"),
]


@pytest.mark.parametrize(("text", "complaint"), ERRORS)
def test_an_error_names_file_key_and_remedy(load, text, complaint):
    with pytest.raises(ConfigError) as caught:
        load(text)
    message = str(caught.value)
    assert "\n" not in message and caught.value.problems[0] in message
    assert complaint in "\n".join(caught.value.problems)
    assert all(re.search(r"/personnel\.toml(:\d+)?: ", problem) for problem in caught.value.problems)


def test_every_mistake_is_found_at_once_on_its_line_by_the_name_of_its_class(load, tmp_path):
    """Those that follow from another are not: a class that names an element, a module on a path that is wrong."""
    with pytest.raises(ConfigErrors) as caught:
        load(MISTAKES)
    path = tmp_path / "personnel.toml"
    assert [problem.removeprefix(str(path)) for problem in caught.value.problems] == [
        ":1: naem: unknown key; did you mean 'name'?",
        ":3: durations.grace: -1 will not do: should be a number of seconds from 0 to 1000000",
        ":4: durations.'a\\nb': unknown key; known are " + ", ".join(keys.names(keys.DURATIONS)),
        ":6: element 'left': cpus: is missing",
        ":8: element no. 2: cpus: is missing",
        ":9: element no. 2: name: 'no name' will not do: should be a name: at most 64 letters, digits, '_', '-' and"
        " '.', beginning with a letter or digit",
        ":13: class 'web': static: 0 will not do: should be a whole number from 1 to 4096",
        ":14: class 'web': listen: item 0: '8000:x' will not do: should be [HOST:]PORT, where PORT is a number from 1"
        " to 65535",
        ":20: class 'api': path: 3 will not do: should be a list, in square brackets",
        ":22: class no. 3: name: is missing",
        ":22: class no. 3: say what to run: one of module, script and program",
    ]
    assert str(caught.value) == f"{caught.value.problems[0]} (10 more: maitred config check {path})"


def test_a_mistake_leaves_nothing_behind(load, tmp_path, own_directory):
    """The log directory is made, and the control socket's, once everything is right; and only then."""
    with pytest.raises(ConfigError):
        load("log_directory = 'new'\nverify = 3\n" + CLASS)
    assert not (tmp_path / "new").exists() and not own_directory.exists()
    assert load("log_directory = 'new'\n" + CLASS).log_directory == tmp_path / "new"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700 and own_directory.exists()


def test_dots_in_strings_and_comments_are_no_keys(load):
    dots = "a." * 20
    text = f"# {dots}\nname = 'a' # \"{dots}\n" + CLASS + f"args = ['{dots}', \"\\\"{dots}\", 'b']\n"
    assert load(text).classes[0].program.args == (dots, f'"{dots}', "b")
    assert load(CLASS + f'args = ["""\n{dots}""", \'\'\'"{dots}\'\'\']').classes[0].program.args == (dots, f'"{dots}')


@pytest.mark.parametrize(
    "text",
    [
        # of 80 kB: once 15 s, since for each line every part of the header was looked at
        "[" + ".".join(["a"] * 8000) + "]\n" + "".join(f"k{i} = 1\n" for i in range(8000)),
        "a" * 1_000_000,
        "[[element]]\nname = 'e'\ncpus = [0]\n" * 20_000,
        '"' * 1_000_000,
        '"\\' * 500_000,
    ],
    ids=["a deep header", "one word", "elements", "quotes", "open strings"],
)
def test_no_file_takes_long(load, text):
    """Each once took, or would with a careless pattern, ten times as long as is allowed here."""
    began = time.process_time()
    with pytest.raises(ConfigError):
        load(text)
    assert time.process_time() - began < 5


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match="cannot be read"):
            toml_file.load(str(path))


def test_a_module_beside_the_program_is_found(load, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_own_server.py").write_text("raise SystemExit('must not be run to be found')")

    with pytest.raises(ConfigError, match="no module named 'my_own_server'"):
        load("[[class]]\nname = 'a'\nmodule = 'my_own_server'")
    assert load("[[class]]\nname = 'a'\nmodule = 'my_own_server'\npath = ['mine']")
    assert load("[[class]]\nname = 'a'\nmodule = 'my_own_server'\ndirectory = 'mine'")


def test_nothing_of_a_dotted_module_is_imported(load, tmp_path):
    package = tmp_path / "lib" / "my_own_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('must not be run to be found')")

    assert load("[[class]]\nname = 'a'\nmodule = 'my_own_package.server'\npath = ['lib']")


def test_another_interpreter_has_modules_of_its_own(load, tmp_path):
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)

    config = load("[[class]]\nname = 'a'\nmodule = 'only_it_knows'\ninterpreter = './python'")
    assert config.classes[0].interpreter == str(other)


TABLES = {"": keys.TOP, "element": keys.ELEMENT, "class": keys.CLASS, "durations": keys.DURATIONS}
SCALARS = st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.dates() | st.datetimes() | st.times()
PLAUSIBLE = st.sampled_from(
    [
        "json",
        "http.server",
        "a",
        "b",
        "cpu0",
        "8000",
        "127.0.0.1:8000",
        "[::1]:1",
        ".",
        "manager.py",
        "-O",
        "512M",
        1,
        2,
    ]
)
VALUES = st.recursive(
    SCALARS | PLAUSIBLE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2)
)


def tables(known):
    named = st.dictionaries(st.sampled_from(keys.names(known)), VALUES | PLAUSIBLE, max_size=6)
    return st.builds(lambda fixed, table: table | fixed, st.sampled_from([{}, {"name": "a", "module": "json"}]), named)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    top=st.dictionaries(st.sampled_from([*keys.names(keys.TOP), "x"]), VALUES | PLAUSIBLE, max_size=4),
    element=st.none() | st.lists(tables(keys.ELEMENT), max_size=2),
    classes=st.none() | st.lists(tables(keys.CLASS), max_size=3),
    durations=st.none() | tables(keys.DURATIONS),
)
def test_no_document_raises_anything_but_config_error(tmp_path, top, element, classes, durations):
    document = dict(top)
    document.update(
        {k: v for k, v in (("element", element), ("class", classes), ("durations", durations)) if v is not None}
    )
    try:
        config = toml_file.read(document, str(tmp_path / "any.toml"))
    except ConfigError:
        return
    monitor.initial(*config.core())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_file_raises_anything_but_config_error(content):
    with suppress(ConfigError):
        toml_file.parse(content, "any.toml")


def test_an_instance_of_that_name_that_runs_is_not_disturbed(load, own_directory, serve):
    serve(own_directory / "personnel.sock")

    assert load(FIG_13).control == own_directory / f"personnel-{os.getpid()}.sock"
    with pytest.raises(ConfigError, match="give this one another --name"):
        load("name = 'personnel'\n" + FIG_13)
    assert instances.running() == [own_directory / "personnel.sock"]
