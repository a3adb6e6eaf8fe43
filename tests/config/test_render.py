"""What is written from a configuration is read as that configuration."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from tests.config.test_fuzz import DOCUMENTS, as_toml
from tests.config.test_toml_file import EVERYTHING, FIG_13

from maitred.config import render, toml_file


def again(tmp_path, text):
    """The configuration of a file, and of what is written from it."""
    (tmp_path / "manager.py").touch()
    (tmp_path / "logs").mkdir(exist_ok=True)
    paths = tmp_path / "first.toml", tmp_path / "second.toml"
    paths[0].write_text(text, newline="")
    examined = toml_file.look(str(paths[0]))
    config = examined.config
    found = render.tables(config, control="control" in examined.top.content)
    paths[1].write_text("\n".join(render.document(found, lambda table, key: "as it was", "default")), newline="")
    return config, toml_file.look(str(paths[1])).config


@pytest.mark.parametrize("text", [EVERYTHING, FIG_13, "[[class]]\nname = 'a'\nprogram = ['true', 'x']\n"])
def test_a_file_that_is_shown_is_the_same_configuration(tmp_path, text):
    config, other = again(tmp_path, text)
    assert other == config


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS)
def test_any_configuration_is(tmp_path, document):
    config, other = again(tmp_path, as_toml(document, True))
    assert replace(other, control=config.control) == config
