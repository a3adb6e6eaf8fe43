"""Drawn examples take as long as the machine's other work lets them: no deadline for any one of them."""

from hypothesis import settings

settings.register_profile("core", deadline=None)
settings.load_profile("core")
