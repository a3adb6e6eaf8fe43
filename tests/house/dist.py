"""Builds the distribution, and uses the wheel as a user would: `make dist`, which is ``python -m tests.house.dist``.

The wheel is built from the sdist, so that both are complete.  It is installed into an empty environment of each Python
that is on this machine (`pythons`), with its dependencies and nothing else.  There, away from the source tree, a server
is run and visited, its status asked, small systems are checked and the recorded trace is replayed (`use`).
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from importlib import metadata
from pathlib import Path

from tests.machine import free_port
from tests.system.harness import eventually

ROOT = Path(__file__).resolve().parents[2]
OLDEST = (3, 11)
CHECKS = (
    ["--servers", "1", "--clients", "1"],
    ["--config", "one-of-each"],  # of manifest.toml
    ["--config", "after-a-distributor-two-who-waited"],  # begins with one of runs.toml
)
"""Small systems: of bounds, of the packed manifest, of the packed runs."""


def run(*command, **more):
    """The output of a command.

    Raises:
        AssertionError: it failed; with its output.
    """
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def build(folder, root=ROOT):
    """Build the sdist and from it the wheel, with the hatchling that is installed; the wheel."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, root)
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


def pythons():
    """The Pythons on PATH, and those of pyenv, one of each version that is new enough: version to path."""
    own = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    folders = [*map(Path, os.get_exec_path()), *own.glob("versions/*/bin")]
    found = {".".join(map(str, sys.version_info[:2])): Path(sys.executable)}
    for path in (path for folder in folders for path in sorted(folder.glob("python3.*"))):
        match = re.fullmatch(r"python(3\.(\d+))", path.name)
        if match and (3, int(match[2])) >= OLDEST and match[1] not in found and _runs(path):
            found[match[1]] = path
    return dict(sorted(found.items(), key=lambda item: int(item[0].partition(".")[2])))


def _runs(python):
    """Whether it is a Python that can make environments: a shim of pyenv may be none."""
    return subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0


def install(python, wheel, folder, *, offline=False):
    """Install the wheel into an environment of its own; the environment's `maitred`.

    Args:
        python: the Python of the environment.
        wheel: the file.
        folder: where to make it.
        offline: link the dependencies, which this environment has, in place of asking an index for them.
    """
    run(python, "-m", "venv", "--without-pip", folder)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder / "bin" / "python", "install"]
    run(*pip, "-q", *(["--no-deps", "--no-index"] if offline else []), wheel)
    if offline:
        (packages,) = folder.glob("lib/python3*/site-packages")
        for name, path in dependencies("maitred"):
            (packages / name).symlink_to(path)
    return folder / "bin" / "maitred"


def dependencies(name):
    """The top-level packages of what a distribution requires, however indirectly: name and path of each."""
    for required in metadata.requires(name) or ():
        if "extra ==" not in required:
            other = re.match(r"[\w.-]+", required)[0]
            files = metadata.files(other) or ()
            for top in {file.parts[0] for file in files if len(file.parts) > 1 and file.suffix == ".py"} - {".."}:
                yield top, metadata.distribution(other).locate_file(top)
            yield from dependencies(other)


def use(command, folder):
    """Run a server with the installed command, visit it, and look at what it recorded, all from an empty folder."""
    folder.mkdir()
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    python = command.with_name("python")
    module = run(python, "-c", "import maitred; print(maitred.__file__)", cwd=folder, env=outside).strip()
    assert Path(module).is_relative_to(command.parents[1]), f"{module} is not what was installed"
    port, control, trace = free_port(), folder / "run" / "control", folder / "trace"
    control.parent.mkdir(mode=0o700)
    listen = ["-b", f"127.0.0.1:{port}", "--static", "2"]
    program = ["-m", "http.server", str(port)]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [command, "run", "--control", control, "--trace", trace, *listen, *program],
            cwd=folder,
            env=outside,
            stderr=log,
            stdout=log,
        )
    try:
        page = eventually(lambda: visited(port), lambda: (folder / "log").read_text())
        assert b"Directory listing" in page, page
        status = eventually(lambda: both_ready(command, control, folder, outside), "not both servers became ready")
        assert status["classes"][0]["name"], status
    finally:
        running.terminate()
        code = running.wait(timeout=60)
    assert code == 0, (folder / "log").read_text()
    assert "every step was a step" in run(command, "replay", trace, cwd=folder, env=outside)
    for arguments in CHECKS:
        run(command, "check", *arguments, cwd=folder, env=outside)


def visited(port):
    """What a client gets, or nothing as long as nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            return answer.read()
    except OSError:
        return None


def both_ready(command, control, folder, environment):
    document = json.loads(run(command, "status", "--json", "--control", control, cwd=folder, env=environment))
    servers = document["classes"][0]["servers"]
    return document if [server["state"] for server in servers] == ["ready", "ready"] else None


def main():
    """Build into dist/, and use the wheel with each Python."""
    out = ROOT / "dist"
    for old in [*out.glob("maitred-*.whl"), *out.glob("maitred-*.tar.gz")]:
        old.unlink()
    wheel = build(out)
    print(*(path.relative_to(ROOT) for path in sorted(out.iterdir())), sep="\n", flush=True)
    for version, python in pythons().items():
        with tempfile.TemporaryDirectory(prefix="maitred-dist-") as folder:
            use(install(python, wheel, Path(folder) / "environment"), Path(folder) / "away")
        print(f"Python {version}: installed, run, visited, status, check, replay: as it should", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
