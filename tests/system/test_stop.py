"""How it ends: a stop that lets everybody finish, and one that does not."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from tests.machine import PATIENCE, free_port
from tests.processes import alive
from tests.system.harness import SERVERS, eventually, greeter, refused, write_config

pytestmark = pytest.mark.system


def stopping(instance):
    """The servers and the Distributor, before anything is stopped."""
    return [server["pid"] for server in instance.servers()], instance.distributor()


def test_an_idle_instance_ends_at_once_when_asked(maitred):
    port = free_port()
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", "2", SERVERS / "greeter.py", f"127.0.0.1:{port}")
    servers, distributor = stopping(instance)
    began = time.monotonic()

    instance.signal(signal.SIGTERM)

    assert instance.wait() == 0
    assert time.monotonic() - began < 20, "it does not wait for the grace of thirty seconds to end"
    assert not any(map(alive, [*servers, distributor]))
    assert refused(port)


def test_a_graceful_stop_lets_everybody_finish(maitred, guests, tmp_path):
    """The served go on being served, those who wait are seated, the backlog is taken; newcomers are refused."""
    port = free_port()
    config = write_config(tmp_path / "c.toml", [greeter(port, static=1, max_clients=1, waiting_limit=2)])
    instance = maitred("--config", config)
    served = guests(port)
    served.seated()
    waiting = [guests(port) for _ in range(2)]
    instance.wait_waiting(2)
    backlog = [guests(port) for _ in range(2)]  # at the bound, the kernel keeps them
    assert instance.waiting() == 2

    instance.signal(signal.SIGTERM)

    assert served.ask("hello during") == "hello during"
    for guest in [served, *waiting, *backlog]:
        assert guest.seated()
        assert guest.ask("hello late") == "hello late"
        guest.close()
    assert instance.wait() == 0
    assert refused(port)


def test_newcomers_are_refused_once_the_backlog_is_taken(maitred, guests):
    port = free_port()
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", "2", SERVERS / "greeter.py", f"127.0.0.1:{port}")
    served = guests(port)
    served.seated()

    instance.signal(signal.SIGTERM)

    eventually(lambda: refused(port), lambda: f"newcomers are refused\n{instance.log}")
    assert instance.process.poll() is None
    assert served.ask("hello still") == "hello still"
    served.close()
    assert instance.wait() == 0


def test_when_the_grace_ends_so_does_everything(maitred, guests, tmp_path):
    port = free_port()
    config = write_config(tmp_path / "c.toml", [greeter(port, static=2, max_clients=1)], grace=0.7)
    instance = maitred("--config", config)
    obstinate = [guests(port) for _ in range(2)]
    assert all(guest.seated() for guest in obstinate)
    waiting = guests(port)
    instance.wait_waiting(1)
    began = time.monotonic()

    instance.signal(signal.SIGTERM)

    assert instance.wait() == 0
    assert time.monotonic() - began > 0.6
    assert all(guest.ended() for guest in [*obstinate, waiting])


def test_a_second_signal_ends_it_at_once(maitred, guests):
    port = free_port()
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", "2", SERVERS / "greeter.py", f"127.0.0.1:{port}")
    served = guests(port)
    served.seated()
    servers, distributor = stopping(instance)
    instance.signal(signal.SIGTERM)
    eventually(lambda: refused(port), lambda: f"newcomers are refused\n{instance.log}")
    assert served.ask("hello still") == "hello still"
    began = time.monotonic()

    instance.signal(signal.SIGTERM)

    assert instance.wait() == 0
    assert time.monotonic() - began < 20, "it does not wait for the grace of thirty seconds to end"
    assert served.ended()
    assert not any(map(alive, [*servers, distributor]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_quick_stop_asks_every_server_to_end_without_a_grace(maitred, guests, tmp_path, number):
    """Nobody is waited for, though the grace is long: the served are cut off, those who wait are dropped."""
    port = free_port()
    config = write_config(tmp_path / "c.toml", [greeter(port, static=1, max_clients=1)], grace=1000)
    instance = maitred("--config", config)
    served = guests(port)
    served.seated()
    waiting = guests(port)
    instance.wait_waiting(1)

    instance.signal(number)

    assert instance.wait() == 0
    assert served.ended()
    assert waiting.ended()
    assert refused(port)


def test_a_graceful_stop_becomes_a_quick_one(maitred, guests, tmp_path):
    port = free_port()
    instance = maitred(
        "--config", write_config(tmp_path / "c.toml", [greeter(port, static=1)], grace=1000, kill_delay=1000)
    )
    served = guests(port)
    served.seated()
    instance.signal(signal.SIGTERM)
    eventually(lambda: refused(port), lambda: f"newcomers are refused\n{instance.log}")
    assert served.ask("hello still") == "hello still"

    instance.signal(signal.SIGINT)

    assert instance.wait() == 0
    assert served.ended()
    assert "ended by SIGINT" in instance.log


def test_ctrl_c_does_not_reach_the_servers(maitred, tmp_path):
    """A terminal sends SIGINT to the whole foreground process group; only the Monitor is to act on it."""
    port = free_port()
    instance = maitred("--config", write_config(tmp_path / "c.toml", [obstinate(tmp_path, port)]))
    assert os.getpgid(instance.process.pid) == instance.process.pid, "the harness makes it a group of its own"

    os.killpg(instance.process.pid, signal.SIGINT)

    assert instance.wait() == 0
    assert re.findall("^caught (.*)$", instance.log, re.MULTILINE) == ["SIGTERM"], "the stop signal of the class"
    assert "Traceback" not in instance.log


def obstinate(directory, port, leaves=True):
    """A class whose stop signal is SIGTERM and whose program prints what it catches, and perhaps goes on."""
    program = directory / "obstinate.py"
    program.write_text(
        "import os, signal, socketserver, sys\n"
        "def caught(number, frame):\n"
        "    print('caught', signal.Signals(number).name, flush=True)\n"
        f"    number == signal.SIGTERM and {leaves} and os._exit(0)\n"
        "for number in (signal.SIGTERM, signal.SIGINT):\n"
        "    signal.signal(number, caught)\n"
        "socketserver.TCPServer(('127.0.0.1', int(sys.argv[1])), socketserver.BaseRequestHandler).serve_forever()\n"
    )
    keys = {"name": "obstinate", "script": str(program), "args": [str(port)], "listen": f"127.0.0.1:{port}"}
    return {**keys, "static": 1, "stop_signal": "TERM"}


def test_a_second_quick_stop_kills(maitred, tmp_path):
    port = free_port()
    config = write_config(tmp_path / "c.toml", [obstinate(tmp_path, port, leaves=False)], kill_delay=1000)
    instance = maitred("--config", config)
    instance.signal(signal.SIGINT)
    instance.wait_log("^caught SIGTERM$")
    assert instance.process.poll() is None

    instance.signal(signal.SIGINT)

    assert instance.wait() == 0


def test_the_distributor_may_die_during_the_stop(maitred, guests, tmp_path):
    port = free_port()
    config = write_config(tmp_path / "c.toml", [greeter(port, static=1, max_clients=1)])
    instance = maitred("--config", config)
    served = guests(port)
    served.seated()
    waiting = guests(port)
    instance.wait_waiting(1)
    instance.signal(signal.SIGTERM)
    eventually(lambda: refused(port), lambda: f"newcomers are refused\n{instance.log}")

    instance.kill(instance.distributor())

    assert served.ask("hello still") == "hello still"
    served.close()
    assert waiting.seated()
    waiting.close()
    assert instance.wait() == 0


def test_the_operator_may_ask_over_the_control_socket(maitred):
    port = free_port()
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", "1", SERVERS / "greeter.py", f"127.0.0.1:{port}")

    instance.ask({"request": "stop"})

    assert instance.wait() == 0


def test_the_command_waits_for_the_end_and_shows_for_whom(maitred, guests):
    port = free_port()
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", "1", SERVERS / "greeter.py", f"127.0.0.1:{port}")
    served = guests(port)
    served.seated()
    stop = [sys.executable, "-m", "maitred", "stop", "--control", instance.control]
    with subprocess.Popen(stop, stderr=subprocess.PIPE, text=True) as command:
        assert command.stderr.readline() == "waiting for 1 client to leave\n"
        assert command.poll() is None

        served.close()

        assert command.wait(PATIENCE) == 0
    assert instance.wait() == 0


def test_the_command_waits_no_longer_than_it_may_and_stops_quickly(maitred, guests, tmp_path):
    port = free_port()
    config = write_config(tmp_path / "c.toml", [greeter(port, static=1)], grace=1000, kill_delay=1000)
    instance = maitred("--config", config)
    served = guests(port)
    served.seated()

    late = instance.command("stop", "--timeout", 0, "--control", instance.control)
    assert late.returncode == 1
    assert late.stderr.endswith("maitred: it has not ended within 0 s; it goes on stopping\n")
    assert served.ask("hello still") == "hello still"

    assert instance.command("stop", "--quick", "--control", instance.control).returncode == 0
    assert instance.wait() == 0
    assert served.ended()
    assert "ended by SIGTERM" in instance.log, "it was asked to end, not killed"


def test_a_server_that_ignores_sigterm_is_killed(maitred, tmp_path):
    port = free_port()
    program = tmp_path / "obstinate.py"
    program.write_text(
        "import signal, socketserver, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "socketserver.TCPServer(('127.0.0.1', int(sys.argv[1])), socketserver.BaseRequestHandler).serve_forever()\n"
    )
    cls = {"name": "obstinate", "script": str(program), "args": [str(port)], "listen": f"127.0.0.1:{port}", "static": 2}
    instance = maitred("--config", write_config(tmp_path / "c.toml", [cls], kill_delay=0.5))
    servers, _ = stopping(instance)
    began = time.monotonic()

    instance.signal(signal.SIGTERM)

    assert instance.wait() == 0
    assert time.monotonic() - began > 0.4
    assert not any(map(alive, servers))


def test_what_a_server_started_itself_ends_with_it(maitred, tmp_path):
    """A grandchild in a session of its own is still one of the server's processes."""
    port, notes = free_port(), tmp_path / "grandchild"
    program = tmp_path / "parent.py"
    program.write_text(
        "import socketserver, subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        "open(sys.argv[2], 'w').write(str(child.pid))\n"
        "socketserver.TCPServer(('127.0.0.1', int(sys.argv[1])), socketserver.BaseRequestHandler).serve_forever()\n"
    )
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", "1", program, port, notes)
    grandchild = int(notes.read_text())
    assert alive(grandchild)

    instance.signal(signal.SIGTERM)

    assert instance.wait() == 0
    assert not alive(grandchild)


def test_the_command_can_be_started_again_at_the_same_place(maitred, guests):
    """Nothing of a former instance, however it ended, is in the way of the next."""
    port = free_port()
    arguments = ("-b", f"127.0.0.1:{port}", "--static", "1", SERVERS / "greeter.py", f"127.0.0.1:{port}")
    first = maitred(*arguments)
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    second = maitred(*arguments)

    guest = guests(port)

    assert guest.seated() == second.servers()[0]["pid"]
    taken = subprocess.run(
        [*second.process.args[:3], "run", "--control", second.control, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert taken.returncode != 0, "a living instance's control socket is not taken over"
    assert str(second.control) in taken.stderr
    assert guest.ask("hello") == "hello"
