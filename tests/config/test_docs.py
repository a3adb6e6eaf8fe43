"""The configuration's reference page has the table that the code makes, and no other."""

import re
from pathlib import Path

import pytest

from maitred.config import keys
from maitred.core.timing import Durations

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "configuration.md"
TABLES = {"top": keys.TOP, "class": keys.CLASS, "element": keys.ELEMENT, "durations": keys.DURATIONS}


@pytest.mark.parametrize("name", TABLES)
def test_the_table_of_keys_is_not_stale(name):
    begins = PAGE.read_text().split(f"<!-- table: {name} -->\n\n", 1)[1]
    assert begins.split("\n\n", 1)[0] == keys.table(TABLES[name]), (
        f"docs/reference/configuration.md is stale: below the line 'table: {name}', put what "
        f"maitred.config.keys.table(keys.{name.upper()}) makes"
    )


def test_the_page_has_no_further_tables_of_keys():
    assert sorted(re.findall(r"<!-- table: (\w+) -->", PAGE.read_text())) == sorted(TABLES)


def test_the_defaults_of_the_durations_are_those_of_the_core():
    """Told as text, so that help costs no import of the core; this is what holds the two together."""
    told = {key.name: float(key.default.strip("`")) for key in keys.DURATIONS}
    assert told == {name: getattr(Durations(), name) for name in Durations.__dataclass_fields__}
