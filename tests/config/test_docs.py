"""The reference pages have the tables that the code makes, and no others; every default is written once."""

import re

import pytest
from docs import tables

from maitred.cli.run import OPTIONS
from maitred.config import keys
from maitred.core.timing import Durations

MARK = re.compile(r"<!-- table: (\w+) -->")


def test_no_table_is_stale():
    assert tables.main(["--check"]) == 0


def test_a_stale_table_is_seen_and_mended(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tables, "HERE", tmp_path)
    for name in tables.TABLES:
        marks = "\n\nProse.\n\n".join(f"<!-- table: {table} -->\n\n| stale row |\n" for table in tables.TABLES[name])
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{marks}\nThe end.\n")
    assert tables.main(["--check"]) == 1
    assert capsys.readouterr().err == f"stale: {', '.join(tables.TABLES)}; run: python -m docs.tables\n"
    assert tables.main([]) == tables.main(["--check"]) == 0
    text = (tmp_path / "reference" / "configuration.md").read_text()
    assert "stale row" not in text and text.count("Prose.") == 3 and text.endswith("|\n\nThe end.\n")


@pytest.mark.parametrize("name", tables.TABLES)
def test_each_page_has_each_of_its_tables_once_and_no_further(name):
    assert sorted(MARK.findall((tables.HERE / name).read_text())) == sorted(tables.TABLES[name])


def test_every_duration_has_a_key_with_its_default():
    assert {key.name: float(key.default.strip("`")) for key in keys.DURATIONS} == {
        name: getattr(Durations(), name) for name in Durations.__dataclass_fields__
    }


def test_an_option_that_is_a_key_has_its_meaning_and_default():
    """The default of an option is the one of its key; what the readers do with it is tested beside them."""
    by_name = {option.name.replace("-", "_"): option for option in OPTIONS}
    shared = {key.name: key for key in (*keys.CLASS, *keys.DURATIONS) if key.name in by_name and key.name != "name"}
    assert {"static", "dynamic", "max_clients", "waiting_limit", "queue_timeout", "grace"} <= shared.keys()
    for name, key in shared.items():
        option = by_name[name]
        assert (option.means, option.default) == (key.means, key.default)
        assert option.help.endswith(f"(default: {key.default.replace('`', '')})")
