"""The native stand-in for a test of this room, built from the sources as they are, and an instance of `maitred`."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.compat.conftest import pytest_runtest_logreport
from tests.system.conftest import maitred

__all__ = ["maitred", "pytest_runtest_logreport"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def native(tmp_path_factory):
    """The directory with the library."""
    there = tmp_path_factory.mktemp("native")
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    subprocess.run(["make", "native", f"NATIVE={there}"], cwd=ROOT, env=alone, check=True, timeout=100)
    return there
