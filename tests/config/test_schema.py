"""The JSON Schema for editors agrees with the loader: the loader refuses what it refuses, and more."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cli.schema import faults
from tests.config.test_fuzz import CHANGES, GOOD, changed
from tests.config.test_toml_file import CLASS, ERRORS, EVERYTHING, FIG_13, PLAUSIBLE, PROGRAM, PROGRAM_ERRORS, VALUES

from maitred.config import keys, toml_file
from maitred.config.error import ConfigError
from maitred.config.schema import schema

SCHEMA = schema()
DOCS = Path(__file__).resolve().parents[2] / "docs"
PUBLISHED = [
    block
    for page in sorted(DOCS.rglob("*.md"))
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.S)
    if "[[class]]" in block
]
NEEDS_MORE = re.compile(
    "is not there|are not there|is the name of|collides|twice|is longer than|no element is named|"
    "not a directory|cannot be made|has 200 bytes|does not exist|is a directory|is no Python script|is not a command|"
    "not executable|be found|left alone|cannot be combined|too many addresses|a socket's path|is not a socket|"
    "is for module and script|nan will not do|a command such as|no module named|is not an executable file|at least 16M"
)
"""What the loader says where it knows more than a schema can: the machine, names, addresses, one key beside another."""


def refused_by_schema(document):
    return list(faults(document, SCHEMA))


def refused_by_loader(document, path):
    try:
        return toml_file.examine(document, str(path)).problems
    except ConfigError as error:
        return [str(error)]


@pytest.mark.parametrize("text", [FIG_13, EVERYTHING, GOOD, CLASS, *PUBLISHED])
def test_what_is_right_is_right_by_the_schema(text):
    assert len(PUBLISHED) >= 2
    assert refused_by_schema(tomllib.loads(text)) == []


@pytest.mark.parametrize(("text", "complaint"), [*ERRORS, *((PROGRAM + text, why) for text, why in PROGRAM_ERRORS)])
def test_what_the_loader_refuses_is_refused_but_where_it_knows_more(tmp_path, text, complaint):
    document = tomllib.loads(text)
    (tmp_path / "manager.py").touch()
    (tmp_path / "logs").mkdir()
    problems = refused_by_loader(document, tmp_path / "personnel.toml")
    assert complaint.partition("personnel.toml")[0] in "\n".join(problems)
    if not all(NEEDS_MORE.search(problem) for problem in problems):
        assert refused_by_schema(document), problems


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["", "durations", "element", "class"]), st.data())
def test_what_the_schema_refuses_the_loader_refuses(tmp_path, table, data):
    """One key of a good document has another value, of any kind."""
    document = tomllib.loads(GOOD)
    known = {"": keys.TOP, "durations": keys.DURATIONS, "element": keys.ELEMENT, "class": keys.CLASS}[table]
    at = document[table] if table else document
    (at[0] if isinstance(at, list) else at)[data.draw(st.sampled_from(keys.names(known)))] = data.draw(
        VALUES | PLAUSIBLE
    )
    if refused_by_schema(document):
        assert refused_by_loader(document, tmp_path / "bent.toml")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
def test_of_a_bent_file_too(tmp_path, changes):
    try:
        document = toml_file.parse(changed(GOOD, changes).encode(errors="surrogatepass"), "bent.toml")
    except ConfigError:
        return
    if refused_by_schema(document):
        assert refused_by_loader(document, tmp_path / "bent.toml")


def test_each_key_is_described():
    for known, of in ((keys.TOP, SCHEMA), (keys.CLASS, SCHEMA["properties"]["class"]["items"])):
        assert set(of["properties"]) == set(keys.names(known))
        assert all("description" in each for each in of["properties"].values())
