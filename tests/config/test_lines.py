"""On which line a key stands: of documents that Hypothesis writes a key a line, and of one that is written oddly."""

import tomllib

from hypothesis import given
from tests.config.test_fuzz import DOCUMENTS, as_toml

from maitred.config.lines import lines

ODD = '''a = 1 # [not.a.table]
"b c".'d' . e = { f = 1, "g.h" = [1, { i = 2 }] }
k = """
x = 1 "quoted"
[[y]]"""
l = [
  'one', # two = 2
  [2, 3],
  """
  three""",
]
[ m . "n" ]
o = 1979-05-27 07:32:00
[[p]]
[[p.q]]
r = -inf
[[p.q]]
[p.q.s]
[[ p ]]
t = \'\'\'
\'\'\'
u = "\\"#"
'''


def paths(value, at=()):
    """Every key and index of a document, with the keys and indices before it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*at, key)
        yield from paths(item, (*at, key))


def test_every_key_of_an_odd_document_has_its_line():
    found = lines(ODD)
    assert set(found) == set(paths(tomllib.loads(ODD)))
    where = {path: line for path, line in found.items() if path[-1] != 0 or len(path) == 2}
    assert where[("b c", "d", "e", "g.h", 1, "i")] == 2 and where[("k",)] == 3 and where[("l",)] == 6
    assert [found[("l", i)] for i in range(3)] == [7, 8, 9]
    assert (found[("m",)], found[("m", "n", "o")]) == (12, 13)
    assert [found[path] for path in (("p", 0), ("p", 0, "q", 0, "r"), ("p", 0, "q", 1, "s"))] == [14, 16, 18]
    assert [found[path] for path in (("p", 1), ("p", 1, "t"), ("p", 1, "u"))] == [19, 20, 22]


@given(DOCUMENTS)
def test_the_line_is_the_one_that_begins_with_the_key(document):
    text = as_toml(document, True)
    written = text.split("\n")
    found = lines(text)
    assert set(found) == set(paths(tomllib.loads(text)))
    for i, cls in enumerate(document["class"]):
        assert written[found[("class", i)] - 1] == "[[class]]"
        for key in cls:
            assert written[found[("class", i, key)] - 1].startswith(f'"{key}" = ')
