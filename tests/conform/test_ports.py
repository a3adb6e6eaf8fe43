"""The port in Rust does all that the vectors ask; twenty mistakes in it do not pass.  `make ports` runs this file."""

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from maitred.vectors import compare, files

ROOT = Path(__file__).parents[2]
PORT = ROOT / "examples/ports/rust"
BENDS = tomllib.loads(Path(__file__).with_name("rust_bends.toml").read_text(encoding="utf-8"))
BENT = '\npub fn bent(name: &str) -> bool {\n    std::env::var("BENT").is_ok_and(|chosen| chosen == name)\n}\n'


def build(sources, into, needed=pytest.skip):
    """The testee's path, built as the port's README says; without what that needs, the test is skipped and says so."""
    answer = subprocess.run(
        ["make", "-C", str(sources), "--no-print-directory", "needs"], capture_output=True, text=True
    )
    if answer.returncode:
        needed(f"the Rust port is NOT built and NOT checked: {answer.stderr.strip().splitlines()[0]}")
    subprocess.run(["make", "-s", "-C", str(sources), "build", f"TARGET={into}"], check=True)
    return into / "debug/maitred-steps"


@pytest.fixture(scope="module")
def target():
    """Shared between runs, so that what the port needs is compiled once."""
    return ROOT / "build/ports"


@pytest.fixture(scope="module")
def port(target):
    return build(PORT, target)


def inputs():
    """Each vector's line in, and what is asked of the line out: machine, id, `then`, and the state at a trace's end."""
    for vector in files.steps():
        yield {"state": vector.state, "event": vector.event}, vector.machine, vector.id, vector.then, None
    for trace in files.traces():
        last = len(trace.steps) - 1
        for number, (event, then) in enumerate(trace.steps):
            first = {"state": trace.state} if number == 0 else {}
            end = trace.end if number == last else None
            yield first | {"event": event}, trace.machine, f"{trace.id}, step {number}", then, end


@pytest.fixture(scope="module")
def asked():
    return [*inputs()]


def answers(testee, asked, **environment):
    lines = "".join(json.dumps({"machine": machine} | line) + "\n" for line, machine, *_ in asked)
    done = subprocess.run(
        [testee], input=lines, capture_output=True, text=True, timeout=60, env=os.environ | environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def wrong(asked, answered):
    """A line for each difference: the vector's id, and what was expected and came."""
    for (_, machine, name, then, end), line in zip(asked, answered, strict=True):
        answer = json.loads(line)
        if "effects" in then and "rejected" in answer:
            yield f"{name}: expected effects, came the rejection {answer['rejected']}"
            continue
        unasked = {"state": answer["state"]} if "effects" in then and "state" in answer else {}
        expected = unasked | then | ({"state": end} if end is not None and unasked else {})
        found = compare.check(machine, expected, answer)
        yield from (f"{name}: {difference}" for difference in found)


def test_the_port_in_rust_does_what_every_vector_asks(port, asked):
    assert [*wrong(asked, answers(port, asked))] == []


def test_every_bent_copy_is_noticed_and_the_report_says_what_differs(port, target, asked, tmp_path):
    copy = tmp_path / "bent"
    shutil.copytree(PORT, copy, ignore=shutil.ignore_patterns("Cargo.lock"))
    for name, bend in BENDS.items():
        source = copy / "src" / bend["file"]
        text = source.read_text(encoding="utf-8")
        assert text.count(bend["old"]) == 1, f"{name}: not once in {bend['file']}: {bend['old']}"
        either = f'(if crate::bent("{name}") {{ {bend["new"]} }} else {{ {bend["old"]} }})'
        source.write_text(text.replace(bend["old"], either), encoding="utf-8")
    main = copy / "src/main.rs"
    main.write_text(f"#![allow(unused_parens)]\n{main.read_text(encoding='utf-8')}{BENT}", encoding="utf-8")
    testee = build(copy, target / "bent")
    assert len(BENDS) == 20
    for name, bend in BENDS.items():
        of_machine = [one for one in asked if one[1] == Path(bend["file"]).stem]
        straight = answers(port, of_machine)
        bent = answers(testee, of_machine, BENT=name)
        differing = [number for number, pair in enumerate(zip(straight, bent, strict=True)) if pair[0] != pair[1]]
        report = [*wrong([of_machine[number] for number in differing], [bent[number] for number in differing])]
        assert report, f"{name}: no vector notices it"
        print(f"{name}: {len(report)}, such as {report[0]}")
