"""As much of JSON Schema (draft 2020-12) as the schemas of this repository use; another keyword is refused."""

import re

TYPES = {
    "null": type(None),
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
    "array": list,
    "object": dict,
}
REMARKS = {"$schema", "title", "description", "$defs"}


def faults(value, schema, root=None, at="$"):
    """What in the value is not as the schema has it, a sentence each.

    Raises:
        NotImplementedError: the schema has a keyword that is not known here.
    """
    root = schema if root is None else root
    for key, asked in schema.items():
        if key not in REMARKS:
            if key not in RULES:
                raise NotImplementedError(f"{key} of JSON Schema is not known here")
            yield from RULES[key](value, asked, schema, root, at)


def _type(value, asked, schema, root, at):
    kinds = asked if isinstance(asked, list) else [asked]
    fits = any(isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in kinds)
    if not fits:
        yield f"{at}: {value!r} should be {' or '.join(kinds)}"


def _enum(value, asked, schema, root, at):
    if value not in asked:
        yield f"{at}: {value!r} should be one of {asked}"


def _const(value, asked, schema, root, at):
    yield from _enum(value, [asked], schema, root, at)


def _ref(value, asked, schema, root, at):
    found = root
    for name in asked.removeprefix("#/").split("/"):
        found = found[name]
    yield from faults(value, found, root, at)


def _one_of(value, asked, schema, root, at):
    fitting = sum(not list(faults(value, each, root, at)) for each in asked)
    if fitting != 1:
        yield f"{at}: is {fitting} of {len(asked)} things, should be one"


def _any_of(value, asked, schema, root, at):
    tried = [list(faults(value, each, root, at)) for each in asked]
    if all(tried):
        yield from min(tried, key=len)


def _pattern(value, asked, schema, root, at):
    """As ECMA has it: ``$`` is the very end."""
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", asked), value, re.ASCII):
        yield f"{at}: {value!r} does not match {asked}"


def _required(value, asked, schema, root, at):
    for key in asked if isinstance(value, dict) else ():
        if key not in value:
            yield f"{at}: {key} is missing"


def _properties(value, asked, schema, root, at):
    for key, each in asked.items() if isinstance(value, dict) else ():
        if key in value:
            yield from faults(value[key], each, root, f"{at}.{key}")


def _others(value, asked, schema, root, at):
    for key in value if isinstance(value, dict) else ():
        if key in schema.get("properties", {}):
            continue
        if asked is False:
            yield f"{at}: {key} should not be there"
        else:
            yield from faults(value[key], asked, root, f"{at}.{key}")


def _items(value, asked, schema, root, at):
    first = len(schema.get("prefixItems", ()))
    for i, each in enumerate(value[first:] if isinstance(value, list) else (), first):
        if asked is False:
            yield f"{at}: should have no more than {first}"
        else:
            yield from faults(each, asked, root, f"{at}[{i}]")


def _prefix_items(value, asked, schema, root, at):
    for i, (each, inner) in enumerate(zip(value if isinstance(value, list) else (), asked, strict=False)):
        yield from faults(each, inner, root, f"{at}[{i}]")


def _min_items(value, asked, schema, root, at):
    if isinstance(value, list) and len(value) < asked:
        yield f"{at}: should have at least {asked}"


def _minimum(value, asked, schema, root, at):
    if isinstance(value, (int, float)) and value < asked:
        yield f"{at}: {value} should be at least {asked}"


def _max_items(value, asked, schema, root, at):
    if isinstance(value, list) and len(value) > asked:
        yield f"{at}: should have at most {asked}"


def _maximum(value, asked, schema, root, at):
    if isinstance(value, (int, float)) and value > asked:
        yield f"{at}: {value} should be at most {asked}"


RULES = {
    "anyOf": _any_of,
    "maximum": _maximum,
    "maxItems": _max_items,
    "pattern": _pattern,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "$ref": _ref,
    "oneOf": _one_of,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _others,
    "items": _items,
    "prefixItems": _prefix_items,
    "minItems": _min_items,
    "minimum": _minimum,
}
