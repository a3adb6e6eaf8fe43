"""Every line of the log is in docs/reference/log.md with its level, and the page lists no other."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "reference" / "log.md"
LEVELS = ("info", "warning", "error")
CALLS = {
    "self._title": "server … of …",
    "report.how_ended": "ended",
    "report.ready_line": "ready: …",
    "str(self)": "verified: …",
}
"""What these functions give."""
WRAPPER = "distributor of …: …"
"""What `WarningsAtIntervals.warn` puts before its text."""


def assigned(name, function):
    """What is assigned to a name, or to an attribute of that name."""
    return [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).split(".")[-1] == name
    ]


def call(node):
    text = ast.unparse(node)
    return CALLS.get(text) or CALLS.get(text.partition("(")[0], "…")


def shown(part):
    """A piece of a formatted string."""
    if isinstance(part, ast.Constant):
        return part.value
    return call(part.value)


def texts(node, function):
    """What an argument may be, with ``…`` for what differs from time to time."""
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.JoinedStr(values=parts):
            return {"".join(map(shown, parts))}
        case ast.Call():
            return {call(node)}
        case ast.IfExp(body=one, orelse=other):
            return texts(one, function) | texts(other, function)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return set().union(*(texts(value, function) for value in assigned(name, function))) or {"…"}
        case ast.Starred(value=ast.Name(id=name)):
            return texts(assigned(name, function)[0].elts[0], function)
    return {"…"}


def levels(node, function):
    """Which levels a call has; none where it is not one of the log."""
    match node:
        case ast.Attribute(value=ast.Name(id="report"), attr=level) if level in LEVELS:
            return {level}
        case ast.Attribute(attr="warn"):
            return {"warning"}
        case ast.IfExp(body=one, orelse=other):
            return levels(one, function) | levels(other, function)
        case ast.Name(id="level"):
            return set().union(*(levels(value, function) for value in assigned("level", function)))
    return set()


def texts_in(path):
    found = set()
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef):
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and (of := levels(call.func, function)):
                    found |= {
                        (level, re.sub("…+", "…", text)) for level in of for text in texts(call.args[0], function)
                    }
    return found - {("warning", WRAPPER)}


def test_the_page_lists_every_line_with_its_level_and_no_other():
    printed = set().union(*map(texts_in, (ROOT / "reference" / "maitred" / "shell").rglob("*.py")))
    rows = re.findall(r"^\| (\w+) \| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert len(printed) > 50 and len(rows) == len(set(rows))
    assert set(rows) == printed
