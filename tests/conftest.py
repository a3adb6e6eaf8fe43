"""How hard Hypothesis tries, and where the examples that failed are kept.

`HYPOTHESIS_PROFILE` chooses the profile: ``ci`` (the same examples every time), ``dev`` (others every time), ``fast``
(few, for `make fast`), ``night`` (many, for hours).  Where it is not set, it is ``ci`` if `CI` is, else ``dev``.

`MAITRED_EXAMPLES` names where failing examples are shared, besides the developer's own ``.hypothesis/examples``: a
directory, or the address of a Redis (``redis://``, ``rediss://`` or ``unix://``).  Only ``night`` writes there.
Hypothesis deletes an example that fails no longer, and a developer at an older or a mended state of the code must not
delete it for everybody.
"""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase, MultiplexedDatabase, ReadOnlyDatabase
from tests import closing

os.environ["MAITRED_CORE"] = "plain"  # here and in what tests start: never what `make compile` has left

pytest_plugins = ["tests.records", "tests.alone"]

OWN = Path(__file__).resolve().parents[1] / ".hypothesis" / "examples"
REDIS = ("redis://", "rediss://", "unix://")
SETTINGS = "_hypothesis_internal_use_settings"
"""Where Hypothesis keeps what a test asks for with ``@settings``; it has no public name."""
PROFILES = {
    "ci": {"max_examples": 100, "stateful_step_count": 80, "derandomize": True, "print_blob": True},
    "dev": {"max_examples": 100, "stateful_step_count": 80},
    "fast": {"max_examples": 10, "stateful_step_count": 20, "derandomize": True, "print_blob": True},
    "night": {"max_examples": 5_000, "stateful_step_count": 200},
}


def pytest_configure(config):
    """Register the profiles and load the one that is asked for, before any test is imported.

    And take signals for what they are by default: a shell has what it starts in the background ignore SIGINT, and all
    that the tests start would inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    name, where = chosen(os.environ), os.environ.get("MAITRED_EXAMPLES", "")
    for each, values in PROFILES.items():
        settings.register_profile(each, deadline=None, database=database(each, where), **values)
    settings.load_profile(name)


def pytest_collection_modifyitems(items):
    """In the profile ``fast``, cap also the tests that ask for more examples than the profile."""
    limit = PROFILES["fast"]["max_examples"]
    if settings.get_current_profile_name() == "fast":
        for function in {getattr(item, "obj", None) for item in items}:
            own = getattr(function, SETTINGS, None)
            if own is not None and own.max_examples > limit:
                setattr(function, SETTINGS, settings(own, max_examples=limit))


def pytest_terminal_summary(terminalreporter, config):
    """Close a run of `pytest -m properties` with a table of what was asked and whether it held."""
    if "properties" not in config.option.markexpr.replace("not properties", ""):
        return
    reports = [r for kind in ("passed", "failed", "error", "skipped", "") for r in terminalreporter.stats.get(kind, ())]
    if reports:
        terminalreporter.section("what was asked, and whether it held")
        for line in closing.lines(closing.rows(reports, config.rootpath)):
            terminalreporter.write_line(line)


def chosen(environ):
    """The name of the profile that the environment asks for.

    Raises:
        pytest.UsageError: there is none of this name.
    """
    name = environ.get("HYPOTHESIS_PROFILE") or ("ci" if environ.get("CI") else "dev")
    if name not in PROFILES:
        raise pytest.UsageError(f"HYPOTHESIS_PROFILE={name}: no such profile; there are {', '.join(PROFILES)}")
    return name


def database(profile, where):
    """Where the profile keeps its examples.

    Args:
        profile: a key of `PROFILES`.
        where: what `MAITRED_EXAMPLES` names; empty where nothing is shared.

    Raises:
        pytest.UsageError: the shared place cannot be used.
    """
    if PROFILES[profile].get("derandomize"):
        return None  # what runs is decided beforehand: nothing to keep
    own = DirectoryBasedExampleDatabase(OWN)
    if not where:
        return own
    common = shared(where)
    return MultiplexedDatabase(own, common if profile == "night" else ReadOnlyDatabase(common))


def shared(where):
    """The database that `MAITRED_EXAMPLES` names.

    Raises:
        pytest.UsageError: it cannot be one, or cannot be reached.
    """
    if where.startswith(REDIS):
        return _redis(where)
    if "://" in where:
        raise _unusable(where, f"should be a directory, or begin with {', '.join(REDIS)}")
    if os.path.exists(where) and not os.path.isdir(where):
        raise _unusable(where, "is there, and is not a directory")
    return DirectoryBasedExampleDatabase(where)


def _redis(where):
    try:
        from hypothesis.extra.redis import RedisExampleDatabase
        from redis import Redis, RedisError
    except ImportError:
        raise _unusable(where, "needs redis: pip install redis") from None
    try:
        redis = Redis.from_url(where, socket_connect_timeout=5)
        redis.ping()
    except (RedisError, ValueError) as error:  # a port that is no number is a ValueError
        raise _unusable(where, error) from None
    return RedisExampleDatabase(redis)


def _unusable(where, why):
    return pytest.UsageError(f"MAITRED_EXAMPLES={where}: {why}")
