"""The log without times and levels, for tests that compare its texts."""

import re

PREFIX = re.compile(
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[(debug|info|warning|error)\] (?=maitred: )", re.MULTILINE
)


def plain(text):
    """The lines from ``maitred:`` on."""
    return PREFIX.sub("", text)
