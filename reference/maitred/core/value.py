"""`dataclass` and `replace` for the values of the core: as in the standard library, but fast.

A step makes some twenty values, so what making one costs is most of what a step costs.  The standard library's frozen
classes take three times as long to make as others, and its `replace` looks the fields up again at each call.

mypy, for which the two are those of `dataclasses`, checks that nobody assigns to a field of a frozen class; at run time
nothing prevents it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import replace as replace
else:
    import dataclasses
    from functools import cache

    def dataclass(*, frozen, slots, order=False):
        """`dataclasses.dataclass`, with the methods of a frozen class; `frozen` is for mypy only."""
        return dataclasses.dataclass(unsafe_hash=True, slots=slots, order=order)

    def replace(value, /, **changes):
        """`dataclasses.replace` for the values of the core."""
        return _replacing(type(value))(value, **changes)

    @cache
    def _replacing(kind):
        """A function that does it for this class, of which each field is a parameter."""
        names = [field.name for field in dataclasses.fields(kind)]
        parameters = "".join(f", {name}=KEEP" for name in names)
        values = ", ".join(f"self.{name} if {name} is KEEP else {name}" for name in names)
        return eval(f"lambda self{parameters}: KIND({values})", {"KEEP": object(), "KIND": kind})
