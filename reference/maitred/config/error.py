"""What every problem with a configuration is raised as; apart, so that asking for it costs no further import."""

from __future__ import annotations


class ConfigError(ValueError):
    """The configuration cannot be used; the text names the place, the value, and what would be right."""


class ConfigErrors(ConfigError):
    """All that is wrong with a file; the text is that of the first, and says how to see the others."""

    def __init__(self, problems: tuple[str, ...], file: str) -> None:
        more = f" ({len(problems) - 1} more: maitred config check {file})" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)
        self.problems = problems
