"""The benchmark's own tools do what they say: no figure of theirs is checked here, only that it is counted right."""

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic, sleep

import pytest
from benchmarks import peers, report
from benchmarks.load import LAST, Sample, body, quantile, run

ROOT = Path(__file__).resolve().parents[2]
WORKLOADS = ("connections", "requests", "download")
SIZE = 3_000_000


@pytest.fixture(params=["loop", "threads"])
def server(request, tmp_path):
    """One unmodified server with nothing in front."""
    with peers.direct(request.param, 1, tmp_path) as peer:
        yield peer


def small(workload, port):
    return run(workload, port, clients=3, size=SIZE, warmup=0.0, seconds=0.2)


@pytest.mark.system
@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_workload_is_answered_whole_by_the_server(server, workload):
    sample = small(workload, server.port)
    assert sample.failed == {}
    assert 0 < sample.results <= sample.everything
    assert 0 < sample.p50 <= sample.p99 <= sample.worst
    assert sample.bytes >= (SIZE if workload == "download" else 64) * sample.results
    if workload != "download":
        assert list(sample.served) == [str(server.servers[0])]


@pytest.mark.system
def test_the_generator_is_a_process_that_prints_its_sample(server):
    command = [sys.executable, "-m", "benchmarks.load", "connections", str(server.port), "--seconds", "0.1"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert Sample(**json.loads(said.stdout)).results > 0


@pytest.mark.system
def test_a_peer_is_gone_when_its_context_is_left(tmp_path):
    with peers.direct("loop", 1, tmp_path) as peer:
        assert peers.ask(peer.port) == peer.servers[0]
        assert peers.cpu_seconds(peer.servers) > 0
    assert peers.ask(peer.port) is None
    assert not Path(f"/proc/{peer.servers[0]}").exists()


def still_there(pids):
    """Those that have not gone in time; an orphan is gone only when its foster parent has looked."""
    end = monotonic() + 5
    while (left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]) and monotonic() < end:
        sleep(0.02)
    return left


@pytest.mark.system
def test_maitred_is_a_peer_whose_copies_all_serve_and_which_leaves_nothing_behind(tmp_path):
    with peers.maitred("loop", 2, tmp_path) as peer:
        sample = small("connections", peer.port)
        assert sample.failed == {}
        assert {*map(int, sample.served)} == {*peer.servers}
        assert len({*peer.front, *peer.others, *peer.servers}) == peer.processes >= 4
    assert still_there(peer.front + peer.others + peer.servers) == []


@pytest.mark.system
def test_a_server_that_does_not_start_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "server_command", lambda server, port: [sys.executable, "-c", "raise SystemExit('no')"])
    with pytest.raises(peers.PeerFailed, match="direct ended with status 1:\nno"), peers.direct("loop", 1, tmp_path):
        pass


# ---------------------------------------------------------------- what counts as failed

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234\n"


@pytest.fixture
def liar():
    """A server that answers every connection with bytes of the test's choosing, then ends it."""
    listener = socket.create_server(("127.0.0.1", 0))
    said = []

    def answer():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.recv(65_536)
                client.sendall(said[0])

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield said, listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


@pytest.mark.system
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", "no answer"),
        (GOOD[:-1], "wrong answer"),
        (GOOD + b"more", "wrong answer"),
        (b"HTTP/1.1 503 No\r\n\r\n", "wrong answer"),
    ],
)
def test_a_wrong_answer_is_a_failure_and_no_result(liar, said, kind):
    answers, port = liar
    answers.append(GOOD)
    assert small("connections", port).results > 0
    answers[0] = said
    sample = small("connections", port)
    assert (sample.results, sample.everything, list(sample.failed)) == (0, 0, [kind])


@pytest.mark.system
def test_a_refused_connection_is_a_failure_and_the_run_ends():
    sample = small("connections", peers.free_port())
    assert (sample.results, list(sample.failed)) == (0, ["ECONNREFUSED"])


def test_a_body_is_whole_or_not_at_all():
    assert body(GOOD) == b"1234\n"
    assert body(GOOD[:-1]) is None
    assert body(LAST) is None


def test_quantiles_are_results_that_were_seen():
    hundred = [float(n) for n in range(1, 101)]
    assert [quantile(hundred, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert quantile([7.0], 0.01) == 7.0
    assert quantile([], 0.5) == 0.0


# ---------------------------------------------------------------- the report


def measured(results, cpu):
    sample = Sample(results, results, 1.0, 1.0, 2.0, 3.0, 64 * results, 0.1, {"7": results}, {})
    return report.Measured(sample, cpu, 0.0, cpu, 1.0)


def results_of(maitred, haproxy):
    """A run of as many rounds as there are figures."""
    names = [name for name, *_ in report.PARTS]
    rounds = [
        {peer: {name: measured(count, 0.5) for name in names} for peer, count in (("maitred-3", m), ("haproxy-3", h))}
        for m, h in zip(maitred, haproxy, strict=True)
    ]
    described = {f"{kind}-3": report.Arrangement(kind, 3, 5, 2) for kind in ("maitred", "haproxy")}
    settings = {"rounds": len(rounds), "seconds": 1.0, "size": 1 << 20, "seats": 64, "warmup": 0.2}
    machine = {"cpus": "2", "server": "benchmarks/servers/loop.py"}
    return report.Results(machine, settings, [0.01], described, rounds)


def test_medians_are_over_rounds_and_ratios_within_each():
    results = results_of([100, 300, 200], [200, 100, 200])
    assert report.middle(results, "maitred-3", "crowd", report.rate) == 200
    assert report.ratios(results, "maitred-3", "haproxy-3", "crowd", report.rate) == [0.5, 3.0, 1.0]
    assert "**1.00** (0.50 to 3.00)" in report.comparison(results)
    assert report.middle(results, "maitred-3", "crowd", report.front_cpu) == pytest.approx(0.5 / 200 * 1e6)


def test_neighbours_that_kept_the_machine_busy_are_published():
    quiet, busy = results_of([100], [100]), results_of([100], [100])
    busy.busy[0] = 0.8
    assert "It was not quiet" not in report.page(quiet)
    assert "kept 80 to 80 % of the machine\n  busy. **It was not quiet" in report.page(busy)


def test_failures_are_published():
    results = results_of([100], [100])
    assert "No connection failed" in report.page(results)
    results.rounds[0]["haproxy-3"]["crowd"].sample.failed["ECONNRESET"] = 2
    assert "haproxy-3, crowd: ECONNRESET: 2" in report.page(results)


def test_a_recorded_run_reads_back_the_same(tmp_path):
    results = results_of([100, 300], [200, 100])
    report.write(results, tmp_path)
    assert report.from_json((tmp_path / "results.json").read_text()) == results


def test_the_published_page_is_made_from_the_recorded_run(tmp_path):
    recorded = report.from_json((report.DOCS / "results.json").read_text())
    report.write(recorded, tmp_path)
    for file in ("README.md", "results.svg", "results.json"):
        assert (report.DOCS / file).read_text() == (tmp_path / file).read_text(), f"{file}: python -m benchmarks.report"
