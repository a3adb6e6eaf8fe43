"""Runs pytest in a small house: a folder with tests of its own, of which nothing here is to be collected or loaded."""

import os
import subprocess
import sys


def ran(house, *options):
    """What came of it: `subprocess.CompletedProcess`.

    Args:
        house: the folder, with a folder ``tests``.
        options: of pytest.
    """
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    alone["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-P", "-m", "pytest", "tests", "-p", "xdist.plugin", *options]
    return subprocess.run(command, cwd=house, env=alone, capture_output=True, text=True, timeout=120)
