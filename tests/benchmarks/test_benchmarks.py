"""The benchmark's own tools do what they claim: no figure of theirs is checked here, only that it is counted right."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic, sleep

import pytest
from benchmarks import __main__ as bench
from benchmarks import build, load, peers, profile, report
from benchmarks.load import Sample

SIZE = 3_000_000
compiled = pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler")
pytestmark = compiled


@pytest.fixture(params=["c", "blocking", "loop", "threads"])
def server(request, tmp_path):
    """One unmodified server with nothing in front."""
    with peers.direct(request.param, 1, tmp_path) as peer:
        yield peer


def small(mode, port, **options):
    return load.run(mode, port, **{"clients": 3, "value": SIZE, "warmup": 0.0, "seconds": 0.1, **options})


@pytest.mark.system
def test_every_workload_is_answered_whole_by_the_server(server):
    for mode in ("connections", "requests", "download"):
        alone = mode == "requests" and server.server == "blocking"  # it serves one connection after the other
        sample = small(mode, server.port, **({"clients": 1} if alone else {}))
        assert sample.failed == {}, mode
        assert 0 < sample.results <= sample.everything
        assert 0 < sample.p50 <= sample.p99 <= sample.worst
        assert sample.bytes >= (SIZE if mode == "download" else 64) * sample.results
        if mode != "download":
            assert list(sample.served) == [str(server.servers[0])]


@pytest.mark.system
def test_the_tail_is_the_same_for_one_seed_and_arrives_at_the_rate_asked_for(tmp_path):
    with peers.PEERS["reuseport"]("c", 4, tmp_path) as peer:
        one, other, third = (
            small("tail", peer.port, clients=1, value=100, seconds=0.5, seed=seed).everything for seed in (1, 1, 2)
        )
    assert one == other != third
    assert 20 < one < 80


@pytest.mark.system
def test_who_holds_a_connection_comes_once_and_stays(tmp_path):
    with peers.direct("c", 1, tmp_path) as peer:
        sample = small("hold", peer.port, clients=300, seconds=5)
    assert (sample.failed, sample.everything, sample.served) == ({}, 300, {str(peer.servers[0]): 300})


@pytest.mark.system
def test_a_peer_is_gone_when_its_context_is_left(tmp_path):
    with peers.direct("c", 1, tmp_path) as peer:
        assert peers.ask(peer.port) == peer.servers[0]
        assert peers.memory(peer.servers) > 0
        one = peers.cpu_seconds(peer.servers)
        assert peers.ask(peer.port) and one < peers.cpu_seconds(peer.servers) < one + 0.01, "finer than a tick"
    assert peers.ask(peer.port) is None
    assert not Path(f"/proc/{peer.servers[0]}").exists()


def still_there(pids):
    """Those that have not gone in time; an orphan is gone only when its foster parent has looked."""
    end = monotonic() + 60

    def alive(pid):
        return Path(f"/proc/{pid}").exists() and peers.stat(pid)[0] != "Z"

    while (left := [pid for pid in pids if alive(pid)]) and monotonic() < end:
        sleep(0.02)
    return left


@pytest.mark.system
@pytest.mark.parametrize("kind", ["shared", "reuseport"])
@pytest.mark.parametrize("server", ["c", "blocking"])
def test_the_kernel_is_a_peer_whose_copies_end_together(kind, server, tmp_path):
    with peers.PEERS[kind](server, 3, tmp_path) as peer:
        sample = small("connections", peer.port)
        assert sample.failed == {} and len(peer.servers) == 3
        assert {*map(int, sample.served)} <= {*peer.servers}
    assert still_there(peer.servers) == []


@pytest.mark.system
def test_maitred_is_a_peer_whose_copies_all_serve_and_which_leaves_nothing_behind(tmp_path):
    with peers.maitred("blocking", 2, tmp_path) as peer:
        sample = small("connections", peer.port, seconds=0.3)
        assert sample.failed == {}
        assert {*map(int, sample.served)} == {*peer.servers}
        assert len({*peer.front, *peer.others, *peer.servers}) == peer.processes >= 4
        peers.check(peer)
    assert still_there(peer.front + peer.others + peer.servers) == []


@pytest.mark.system
def test_the_server_in_c_counts_its_clients_as_the_wire_format_specifies(tmp_path):
    with peers.maitred("c", 2, tmp_path, seats=2) as peer:

        def clients():
            status = peers.maitred_status(peer.name, tmp_path / peer.name / "control")
            return [server["clients"] for server in status["classes"][0]["servers"]]

        sample = small("connections", peer.port, seconds=0.3)
        assert sample.failed == {} and {*map(int, sample.served)} == {*peer.servers}
        held = [socket.create_connection((peers.HOST, peer.port)) for _ in range(4)]
        for one in held:
            one.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert one.recv(4096).startswith(b"HTTP/1.1 200 OK")
        assert clients() == [2, 2]
        for one in held:
            one.close()
        end = monotonic() + 60
        while any(clients()) and monotonic() < end:
            sleep(0.02)
        assert clients() == [0, 0]
    with pytest.raises(build.Failed, match=r"maitred-c-2: process \d+ \(front\) has ended"):
        peers.check(peer)


@pytest.mark.system
def test_a_server_that_does_not_start_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "server_command", lambda server, port: [sys.executable, "-c", "raise SystemExit('no')"])
    with pytest.raises(build.Failed, match="ended with status 1:\nno"), peers.direct("loop", 1, tmp_path):
        pass


@pytest.mark.system
def test_a_whole_run_goes_through_and_skips_who_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(peers, "HAPROXY", "no-such-command")
    assert bench.main(["--quick", "--stages", "pinned"]) == 0
    said = capsys.readouterr().out
    assert "Not measured: no-such-command is not installed (apt-get install haproxy)." in said
    assert "shared accept, 2 copies" in said or "takes two CPUs" in said


def test_without_a_compiler_it_names_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    monkeypatch.setattr(build, "PLACE", tmp_path)
    with pytest.raises(build.Failed, match=r"^no-such-compiler: no such C compiler \(apt-get install gcc"):
        build.program("load")


def test_a_source_that_does_not_compile_is_reported_and_a_newer_one_is_compiled_again(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    monkeypatch.setattr(build, "PLACE", tmp_path / "made")
    source = tmp_path / "some.c"
    source.write_text("int main(void) { return 3; }\n")
    assert subprocess.run([build.program("some")], check=False).returncode == 3
    source.write_text("int main(void) { return nothing; }\n")
    os.utime(source, (monotonic() + 2e9, 2e9))
    with pytest.raises(build.Failed, match="nothing"):
        build.program("some")


@pytest.mark.system
def test_the_profile_shows_which_part_of_the_distributor_was_running(tmp_path):
    found = profile.distributor(tmp_path, 1, 0.4)
    assert found["total"]["kernel"] >= 0  # in ticks, of which there may be none
    assert found["total"]["all"] > 0
    assert sum(found["rooms"].values()) == pytest.approx(found["total"]["all"], abs=1)
    assert {*found["rooms"]} <= {name for _, name in profile.ROOMS} | {"what is not ours"}
    assert all(name.startswith(("core/", "shell/", "what is not")) for name in found["functions"])
    assert "PYTHONPATH" not in os.environ or str(tmp_path) not in os.environ["PYTHONPATH"]


# ---------------------------------------------------------------- what counts as failed

GOOD = b"HTTP/1.1 200 OK\r\nServer: some\r\ncontent-length: 5\r\n\r\n1234\n"


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
    assert (sample.results, list(sample.failed)) == (0, ["Connection refused"])


# ---------------------------------------------------------------- the report


def measured(results, cpu):
    sample = Sample(results, results, 1.0, 1.0, 2.0, 3.0, 64 * results, 0.1, {"7": results}, {})
    return report.Measured(sample, cpu, 0.0, 0.0, 1.0)


PROFILE = {"total": {"all": 250, "kernel": 30}, "rooms": {"codecs": 14.2}, "functions": {"core/wire.py:encode": 7.1}}


def results_of(maitred, haproxy, stage="pinned"):
    """A run of as many rounds as there are figures: connections for half a second of CPU."""
    rounds = [
        {
            peer: {name: measured(count, 0.5) for name in ("storm", "alone")}
            for peer, count in (("haproxy-c-4", h), ("maitred-c-4", m))
        }
        for m, h in zip(maitred, haproxy, strict=True)
    ]
    described = {f"{kind}-c-4": report.Arrangement(kind, "c", 4, 5, 2, 1.0, 1.0) for kind in ("haproxy", "maitred")}
    settings = {"seconds": 1.0, "seats": 64, "warmup": 0.2}
    stages = {stage: report.Stage([0.01] * len(rounds), described, rounds)}
    calls = {"maitred-c-4": {"alone": {"front": {"recvmsg": 3.0, "read": 0.01}}}}
    return report.Results({"cpus": "2"}, settings, [], stages, [0.5, 0.4], [0.9], calls, PROFILE)


def test_medians_are_over_rounds_and_ratios_within_each():
    stage = results_of([100, 300, 200], [200, 100, 200]).stages["pinned"]
    assert report.figures(stage, "maitred-c-4", "storm", report.rate) == [100, 300, 200]
    assert report.ratios(stage, "maitred-c-4", "haproxy-c-4", "storm", report.rate) == [0.5, 3.0, 1.0]
    assert report.spread([0.5, 3.0, 1.0]) == "1.00 (0.50 to 3.00)"
    assert report.spread([1.0]) == "1.00"
    assert report.figures(stage, "maitred-c-4", "storm", report.cpu)[0] == pytest.approx(0.5 / 100 * 1e6)


@pytest.mark.parametrize(
    ("maitred", "verdict"), [([300, 210], "maitred wins"), ([100, 190], "maitred loses"), ([300, 100], "Neither")]
)
def test_the_page_begins_with_where_maitred_wins_and_where_it_loses(maitred, verdict):
    page = report.page(results_of(maitred, [200, 200]))
    headings = [line for line in page.splitlines() if line.startswith("**")]
    assert headings[0].startswith(f"**{verdict}")
    assert page.index(verdict) < page.index("## Pinned")
    ratios = {f"{count / 200:.2f}" for count in maitred}
    assert all(ratio in page.split("## Pinned")[0] for ratio in ratios), "less CPU and more connections are both better"


def test_restarts_calls_and_what_is_missing_are_published():
    results = results_of([100], [100])
    results.absent.append("nginx is not installed")
    page = report.page(results)
    assert "| servers in C, pinned | **1.00** | 1 | 1.6 |" in page
    assert (
        "a Distributor as plain Python spends 250 µs of CPU on a connection, 30 of them in the kernel" in page
        and "14 in codecs." in page
    )
    assert "| `core/wire.py:encode` | 7.1 |" in page
    assert "to the next client served: **450 (400 to 500) ms**" in page and "**900 ms**" in page
    assert "| maitred-c-4, alone, front | 3.0 | recvmsg 3 |" in page
    assert "Not measured: nginx is not installed." in page


def test_neighbours_that_kept_the_machine_busy_are_published():
    quiet, busy = results_of([100], [100]), results_of([100], [100])
    busy.stages["pinned"].busy[0] = 0.8
    assert "It was not quiet" not in report.page(quiet)
    assert "kept 80 to 80 % of the machine busy. **It was not quiet" in report.page(busy)


def test_failures_are_published():
    results = results_of([100], [100])
    assert "No connection failed" in report.page(results)
    results.stages["pinned"].rounds[0]["haproxy-c-4"]["storm"].sample.failed["Connection reset by peer"] = 2
    assert "pinned, haproxy-c-4, storm: Connection reset by peer: 2" in report.page(results)


def test_a_run_of_some_stages_replaces_those_and_keeps_the_others():
    old, new = results_of([100], [100]), results_of([300], [100], "free")
    both = report.merged(old, new)
    assert both.stages == {**old.stages, **new.stages}
    assert list(report.merged(new, old).stages) == ["pinned", "free"], "in the order of the page"
    assert (
        report.merged(old, report.Results(new.machine, new.settings, [], {}, [], [], {}, {})).restarts == old.restarts
    )


def test_a_recorded_run_reads_back_the_same(tmp_path):
    results = results_of([100, 300], [200, 100])
    report.write(results, tmp_path)
    assert report.from_json((tmp_path / "results.json").read_text()) == results
    assert "</svg>" in (tmp_path / "results.svg").read_text()


def test_the_published_page_is_made_from_the_recorded_run(tmp_path):
    try:
        report.write(report.recorded(), tmp_path)
    except build.Failed as old:
        pytest.skip(str(old))
    for file in ("README.md", "results.svg", "results.json"):
        assert (report.DOCS / file).read_text() == (tmp_path / file).read_text(), f"{file}: python -m benchmarks.report"
