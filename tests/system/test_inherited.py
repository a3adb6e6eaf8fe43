"""What whoever starts it has settled, and what is taken away after the start: neither changes what it does."""

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.machine import free_port
from tests.system.harness import SERVERS

pytestmark = pytest.mark.system

WITHOUT_ROOTS_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Root may enter every directory; not so with these taken away."""

SERVE = """
import socketserver
socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), socketserver.BaseRequestHandler).serve_forever()
"""


def greeters(port):
    return "-b", f"127.0.0.1:{port}", "--static", 1, SERVERS / "greeter.py", f"127.0.0.1:{port}"


def python(code):
    """A command that runs the code, which finds in `sys.argv[1:]` the command that it is to become."""
    return [sys.executable, "-c", f"import os, resource, signal, sys\n{code}\nos.execvp(sys.argv[1], sys.argv[1:])"]


def is_replaced(instance, guests, port):
    """Kill both the copy and the Distributor; whether their successors serve."""
    copy, distributor = instance.servers()[0]["pid"], instance.distributor()
    for pid in (copy, distributor):
        instance.kill(pid)
    with guests(port) as guest:
        return guest.seated() != copy and instance.distributor() != distributor


def test_the_directory_of_the_start_may_be_removed(maitred, guests, tmp_path):
    start, port = tmp_path / "releases", free_port()
    start.mkdir()
    instance = maitred(*greeters(port), working=start)
    start.rmdir()

    assert is_replaced(instance, guests, port)
    assert f"{start}, where maitred was started, has been removed" in instance.log


def test_the_directory_of_the_start_may_be_closed_to_us(maitred, guests, tmp_path):
    start, port = tmp_path / "closed", free_port()
    start.mkdir()
    instance = maitred(*greeters(port), working=start, prefix=WITHOUT_ROOTS_RIGHTS)
    start.chmod(0)
    try:
        assert is_replaced(instance, guests, port)
    finally:
        start.chmod(0o700)


def test_after_a_deployment_by_symbolic_link_a_copy_starts_in_the_new_version(maitred, tmp_path):
    for version in ("old", "new"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "serve.py").write_text(
            f"import os, sys\nprint('runs the {version} in', os.environ['PWD'], flush=True)\n{SERVE}"
        )
    current, port = tmp_path / "current", free_port()
    current.symlink_to("old")
    arguments = "-b", f"127.0.0.1:{port}", "--static", 1, "serve.py", port
    instance = maitred(*arguments, working=current, environment={"PWD": str(current)})
    current.unlink()
    current.symlink_to("new")
    (tmp_path / "old" / "serve.py").unlink()
    (tmp_path / "old").rmdir()

    instance.kill(instance.servers()[0]["pid"])

    instance.wait_log(f"^runs the new in {current}$")


def test_what_is_ignored_or_kept_back_at_the_start_is_not_so_in_a_program(maitred, guests, tmp_path):
    """Neither for us: a SIGCHLD that is ignored would report no death to us, a SIGTERM that is blocked never end us."""
    shows = tmp_path / "shows.py"
    shows.write_text(
        "import runpy, sys\n"
        "masks = 'SigBlk', 'SigIgn', 'SigCgt'\n"
        "print([line for line in open('/proc/self/status') if line[:6] in masks], flush=True)\n"
        f"runpy.run_path({str(SERVERS / 'greeter.py')!r}, run_name='__main__')\n"
    )
    port = free_port()
    ignoring = python(
        "for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2, signal.SIGCHLD])\n"
    )
    arguments = "-b", f"127.0.0.1:{port}", "--static", 1, shows, f"127.0.0.1:{port}"

    instance = maitred(*arguments, prefix=ignoring)

    alone = subprocess.run([sys.executable, shows, "nowhere:0"], capture_output=True, text=True).stdout.splitlines()[0]
    assert alone in instance.log.splitlines()
    assert is_replaced(instance, guests, port)  # and SIGTERM ends it, as each test sees


def test_a_closed_stdout_is_no_error_and_nothing_else_gets_its_number(maitred, guests):
    port = free_port()
    closing = python("os.close(0); os.close(1)")
    instance = maitred(*greeters(port), prefix=closing)
    copy = instance.servers()[0]["pid"]
    for pid in (instance.process.pid, copy):
        assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1)] == ["/dev/null", "/dev/null"]
    with guests(port) as guest:
        assert guest.seated() == copy

    instance.signal(signal.SIGTERM)

    assert instance.wait() == 0
    assert "Traceback" not in instance.log


def test_a_command_whose_streams_are_closed_prints_nothing_and_fails_with_its_own_code(tmp_path):
    for streams in ("0", "1", "2", "0 1 2"):
        closing = python(f"for fd in map(int, {streams!r}.split()): os.close(fd)")
        outcome = subprocess.run(
            [*closing, sys.executable, "-m", "maitred", "status", "--control", tmp_path / "none"], capture_output=True
        )
        assert outcome.returncode == 1
        assert outcome.stdout == b""
        assert outcome.stderr in (b"", f"maitred: {tmp_path / 'none'}: no instance is running there\n".encode())


def test_umask_niceness_limits_and_score_are_the_program_s(maitred, tmp_path):
    """What the user has settled for the command is settled for its program, as it would be without us."""
    settle = (
        "os.umask(0o027); os.nice(3); resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300));"
        " resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); open('/proc/self/oom_score_adj', 'w').write('123')"
    )
    shows = tmp_path / "shows.py"
    shows.write_text(
        "import json, os, resource, sys\n"
        "limits = [resource.getrlimit(each) for each in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)]\n"
        "score = open('/proc/self/oom_score_adj').read()\n"
        f"print('sees', json.dumps([os.umask(0), os.nice(0), limits, score]))\n{SERVE}"
    )
    port = free_port()
    instance = maitred("-b", f"127.0.0.1:{port}", "--static", 1, shows, port, prefix=python(settle))

    seen = json.loads(instance.wait_log("^sees (.*)$")[1])

    assert seen[0] == 0o027
    assert seen[1] == os.nice(0) + 3
    assert seen[2] == [[200, 300], [0, 0]]
    assert seen[3] == "123\n"


def test_a_signal_without_a_meaning_does_nothing(maitred, guests):
    port = free_port()
    instance = maitred(*greeters(port))

    commands = {"SIGWINCH": "", "SIGUSR2": "upgrade"}
    for name, command in commands.items():
        instance.signal(getattr(signal, name))
        if command:  # a terminal sends many of the others
            instance.wait_log(f"^maitred: {name} does nothing: it is kept for maitred {command}")

    instance.signal(signal.SIGHUP)  # a terminal that closes sends it
    instance.wait_log("SIGHUP: nothing to reload: this instance was started without a configuration file")
    with guests(port) as guest:
        assert guest.seated()
    assert instance.status()["monitor"]["phase"] == "running"
