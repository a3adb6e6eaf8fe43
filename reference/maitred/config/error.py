"""What every problem with a configuration is raised as; apart, so that asking for it costs no further import."""


class ConfigError(ValueError):
    """The configuration cannot be used; the text names the place, the value, and what would be right."""
