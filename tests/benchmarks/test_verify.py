"""The figures of `--verify` are computed as the page describes, and the page is made from the recorded run."""

import json
from dataclasses import asdict

import pytest
from benchmarks import verify
from benchmarks.report import DOCS


def turn(rate, **other):
    numbers = {"front": 1.0, "servers": 1.0, "verifier": 0.0, "steps": 0, "verified": 0, "dropped": 0, "divergences": 0}
    return verify.Turn(rate=rate, **{"p50": 1.0, "p99": 2.0, "failed": 0, **numbers, **other})


def results(pairs, **other):
    rounds = [
        {
            verify.WITHOUT: dict.fromkeys(verify.CLIENTS, turn(without)),
            verify.WITH: dict.fromkeys(verify.CLIENTS, turn(with_it, steps=100, verified=90, dropped=10, **other)),
        }
        for without, with_it in pairs
    ]
    machine = {"cpus": "2", "server": "benchmarks/servers/loop.py"}
    return verify.Results(machine, {"rounds": len(pairs), "seconds": 1.0, "copies": 2}, [0.01], rounds)


def test_medians_are_over_rounds_and_ratios_within_each():
    said = verify.page(results([(100, 50), (300, 240), (200, 180)]))
    assert "| new connections/s, 64 clients | 200 | 180 | **0.80** (0.50 to 0.90) |" in said
    assert "| steps verified, % | - | 90.0 | - |" in said
    assert "Of 600 steps, 540 were verified and 60 dropped; there were 0 divergences, and 0 connections failed." in said


def test_neighbours_divergences_and_failures_are_published():
    busy = results([(100, 50)], divergences=2, failed=3)
    busy.busy[0] = 0.8
    said = verify.page(busy)
    assert "kept 80 to 80 % of the machine busy" in said and "**The machine was not quiet" in said
    assert "not quiet" not in verify.page(results([(100, 50)]))
    assert "there were 4 divergences, and 6 connections failed" in said


def test_a_recorded_run_reads_back_the_same():
    some = results([(100, 50), (300, 240)])
    assert verify.from_json(json.dumps(asdict(some))) == some


def test_the_published_page_is_made_from_the_recorded_run(tmp_path):
    recorded = (DOCS / "verify.json").read_text()
    verify.write(verify.from_json(recorded), tmp_path)
    for file in ("verify.md", "verify.json"):
        assert (DOCS / file).read_text() == (tmp_path / file).read_text(), (
            f"{file}: python -m benchmarks.verify --again"
        )


@pytest.mark.system
def test_both_are_measured_and_the_verifier_is_reported():
    options = verify.argparse.Namespace(rounds=1, seconds=0.1, copies=2, server="loop")
    found = verify.run(options)
    with_it, without = (found.rounds[0][which]["crowd"] for which in (verify.WITH, verify.WITHOUT))
    assert with_it.rate > 0 and without.rate > 0
    assert with_it.failed == without.failed == with_it.divergences == 0
    assert with_it.steps > with_it.verified // 2 > 0 and with_it.verifier > 0
    assert without.steps == 0 and without.verifier == 0
