"""What is distributed is whole: the wheel, built from the sdist, works without the source tree (see `dist`)."""

import sys
import tarfile

import pytest
from tests.house import dist

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def test_the_wheel_works_alone_with_its_dependencies_only(tmp_path):
    wheel = dist.build(tmp_path)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as held:
        names = {name.partition("/")[2] for name in held.getnames()}
    assert {"LICENSE", "Makefile", "spec/requirements.toml", "tests/house/test_dist.py"} <= names
    assert not any(name.startswith((".ci", ".venv", "dist")) for name in names)

    command = dist.install(sys.executable, wheel, tmp_path / "environment", offline=True)
    dist.use(command, tmp_path / "away")

    for name in ("manifest.toml", "runs.toml"):  # the attack: what were not packed would be missed
        (file,) = command.parents[1].rglob(name)
        file.rename(tmp_path / name)
        with pytest.raises(AssertionError, match="check"):
            [dist.run(command, "check", *arguments, cwd=tmp_path) for arguments in dist.CHECKS]
        (tmp_path / name).rename(file)


def test_only_what_maitred_requires_is_linked():
    assert {name for name, _ in dist.dependencies("maitred")} == {"rich", "markdown_it", "mdurl", "pygments"}


def test_a_python_that_does_not_run_or_is_too_old_is_left_out(tmp_path, monkeypatch):
    for name, says in {"python3.10": 0, "python3.14": 0, "python3.15": 127}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {says}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    own = f"3.{sys.version_info[1]}"
    assert list(dist.pythons()) == sorted({own, "3.14"}, key=lambda version: int(version[2:]))
