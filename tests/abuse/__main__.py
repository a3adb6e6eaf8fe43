"""The page of load and abuse: from the rows of the catalogue, and from figures that the tests have noted.

    python -m tests.abuse [--write | --render | --check]

``--write`` runs every test of this room, the long ones in full, notes their figures in the file beside the page, and
writes the page; ``--render`` writes the page from figures noted before; ``--check`` tests whether the page is what it
should be.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from docs import campaigns
from tests.abuse.catalogue import ABUSES
from tests.abuse.measures import FIGURES, note

import maitred

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "explanation" / "load-and-abuse.md"
NOTED = PAGE.with_suffix(".json")

HEAD = """# Load and abuse

What becomes of a running instance under load, under clients and servers of bad manners, and when the machine has
nothing left to give. Each row has been tried on real processes by the tests that it names; its figures are those of
the last long run (`python -m tests.abuse --write`), which also writes this page. A test fails where a process takes
more than a fifth of a processor while nothing is to be done, or more memory than stands here. Memory is what is
resident of the process; the kernel's own, of each connection, comes on top, as for any program.

Measured with maitred {machine[version]}, Python {machine[python]} and Linux {machine[kernel]} on {machine[cpus]} CPUs.
"""


def render(noted):
    """The page.

    Raises:
        KeyError: a figure has not been noted.
    """
    rows = ["| what | what happens | figures | log | tests |", "|---|---|---|---|---|"]
    for abuse in ABUSES:
        lines = "<br>".join(f"`{line}`" for line in abuse.lines) or f"none: {abuse.silence}"
        tests = "<br>".join(f"`{test.partition('::')[2]}`" for test in abuse.tests)
        rows.append(f"| {abuse.what} | {abuse.outcome} | {abuse.figures.format(**noted)} | {lines} | {tests} |")
    return HEAD.format(**noted) + "\n" + "\n".join(rows) + "\n"


def complaints(noted, page):
    """What is wrong with the page and its figures."""
    try:
        wanted = render(noted)
    except KeyError as missing:
        yield f"{NOTED.name}: {missing} has not been measured: python -m tests.abuse --write"
        return
    if page != wanted:
        yield f"{PAGE.name} is not what the figures and the catalogue say: python -m tests.abuse --render"
    for abuse in ABUSES:
        for test in abuse.tests:
            file, _, name = test.partition("::")
            path = HERE / file
            if not path.exists() or f"def {name}(" not in path.read_text():
                yield f"{abuse.key}: there is no test {test}"


def measure():
    """Run every test of this room and note the figures; the exit code of pytest."""
    fresh = NOTED.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    wanted = [str(HERE), "-k", "not few", f"--ignore={HERE / 'test_page.py'}"]
    command = [sys.executable, "-m", "pytest", "-q", "--timeout=0", *wanted]
    code = subprocess.run(command, env={**os.environ, FIGURES: str(fresh)}, cwd=HERE.parents[1]).returncode
    if code == 0:
        os.environ[FIGURES] = str(fresh)
        machine = {"kernel": platform.release(), "python": platform.python_version(), "cpus": os.cpu_count()}
        note("machine", version=maitred.__version__, **machine)
        fresh.replace(NOTED)
    return code


def main(arguments):
    """Do what is asked for; the exit code."""
    if arguments not in (["--write"], ["--render"], ["--check"]):
        print("usage: python -m tests.abuse --write | --render | --check", file=sys.stderr)
        return 2
    if arguments == ["--write"] and (code := measure()) != 0:
        return code
    try:
        noted = json.loads(NOTED.read_text())
    except (OSError, ValueError) as error:
        print(f"{NOTED}: {error}: python -m tests.abuse --write makes it", file=sys.stderr)
        return 1
    if arguments != ["--check"]:
        PAGE.write_text(render(noted))
    if arguments == ["--write"]:
        campaigns.record(PAGE)
    found = list(complaints(noted, PAGE.read_text() if PAGE.exists() else ""))
    for complaint in found:
        print(complaint, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
