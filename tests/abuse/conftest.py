"""What the tests of load and abuse share: `strained` starts an instance under some strain and sees to its end."""

import contextlib

import pytest
from tests.abuse.measures import Strained


@pytest.fixture
def strained(tmp_path):
    """Start `maitred run` with these arguments, under the conditions that the options name (see `Strained`)."""
    with contextlib.ExitStack() as stack:

        def start(*arguments, ready=True, directory=None, **options):
            instance = Strained(directory or tmp_path / f"strained{len(running)}", arguments, **options)
            running.append(instance)
            stack.callback(instance.finish)
            return instance.start(ready)

        running = []
        yield start
