"""Everything that descends from a server is killed, and nothing else is."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from tests.processes import alive
from tests.shell.instance import eventually

from maitred.shell.io import kernel
from maitred.shell.supervise import descendants
from maitred.shell.supervise.descendants import Family, Groups

pytestmark = pytest.mark.system

FAMILY = """
import os, signal, sys, time
control = int(sys.argv[1])
kind = sys.argv[2]

def child(*steps):
    if os.fork():
        return
    for step in steps:
        step()
    os.write(1, b'%d\\n' % os.getpid())
    while True:
        time.sleep(60)

def orphan():
    if os.fork():
        os._exit(0)

def forget():
    os.close(control)

os.write(1, b'%d\\n' % os.getpid())
if kind == "plain":
    child()
    child(os.setsid)
elif kind == "orphan":
    child(os.setsid, orphan)
    child(orphan)
elif kind == "session":
    child(orphan, forget)
elif kind == "daemon":
    child(os.setsid, orphan, forget)
elif kind == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child(lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
elif kind == "breeding":
    def breed():
        for _ in range(400):
            if os.fork():
                os._exit(0)
            time.sleep(0.002)
    child(breed)
if kind.endswith("!"):
    os._exit(0)
while True:
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def subreaper():
    """As the Monitor is; the process that runs the tests is so no longer than they do."""
    kernel.become_subreaper()
    yield
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def groups():
    return Groups.find()


@pytest.fixture(params=["group", "no group"])
def family(request, groups):
    """Starts a main process of a kind; gives the family and the pids of all in it."""
    if request.param == "group" and groups.base is None:
        pytest.skip("no control group can be made here")
    started = []

    def start(kind, count):
        group = groups.make(f"maitred-test-{os.getpid()}-{time.monotonic_ns()}") if request.param == "group" else None
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-c", FAMILY, str(theirs.fileno()), kind]

        def join():
            if group is not None:
                (group / "cgroup.procs").write_text("0")

        main = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=[theirs.fileno()],
            preexec_fn=join,
        )
        made = Family(main.pid, os.fstat(theirs.fileno()).st_ino, group)
        theirs.close()
        pids = [int(main.stdout.readline()) for _ in range(count)]
        started.append((made, main, pids, ours))
        return made, main, pids

    yield start
    for made, main, pids, ours in started:
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        main.wait()
        main.stdout.close()
        ours.close()
        eventually(lambda made=made: not made.members())
        made.close()
        descendants.reap_orphans(frozenset())
        assert made.group is None or not made.group.exists()


def end(made):
    """Kill until nobody is left, as the Monitor does."""
    eventually(lambda: not made.kill(), what="nobody is left")


@pytest.mark.parametrize(("kind", "count"), [("plain", 3), ("orphan", 3), ("session", 2), ("stubborn", 2)])
def test_all_are_found_and_killed(family, kind, count):
    made, _, pids = family(kind, count)
    assert set(pids) <= {found.pid for found in made.members()}

    end(made)

    assert not any(map(alive, pids))


def test_who_has_been_given_the_number_of_the_main_process_is_a_stranger(family):
    """Another server of ours, in a session of that number; and who is left in it when that one has ended."""
    made, main, _ = family("plain", 3)
    main.kill()
    main.wait()
    end(made)
    other = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; read end"],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    child = int(other.stdout.readline())
    try:
        made.main = other.pid
        assert made.members() == []
        other.stdin.close()
        other.wait()
        assert alive(child) and os.getsid(child) == made.main
        assert made.members() == [] and not made.kill()
    finally:
        other.stdout.close()
        os.kill(child, signal.SIGKILL)


def test_a_session_of_others_is_not_killed(family):
    """The number may have gone to a process that does not descend from us at all."""
    with open(f"/proc/self/task/{os.getpid()}/children") as children:
        ours = set(map(int, children.read().split()))
    made, main, pids = family("plain", 3)
    made.main, started = os.getsid(0), made._started
    leader = descendants.read_process(made.main)
    made._started = leader.started if leader else -1
    assert {found.pid for found in made.members()} - ours <= set(pids), "an earlier test may have left us an orphan"
    made.main, made._started = main.pid, started


@pytest.mark.parametrize(("kind", "count"), [("plain", 3), ("orphan", 3), ("session", 2)])
def test_who_has_outlived_the_main_process_is_found_too(family, kind, count):
    made, main, pids = family(kind, count)
    main.kill()
    main.wait()
    eventually(lambda: set(pids[1:]) <= {found.pid for found in made.members()}, what="the orphans are found")

    end(made)

    assert not any(map(alive, pids))


def test_a_family_that_goes_on_breeding(family):
    made, main, _ = family("breeding", 1)
    main.kill()
    main.wait()
    end(made)
    time.sleep(0.05)
    assert not made.members()


RUNS_AWAY = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
os.write(1, b"%d\\n" % os.getpid())
sys.stdin.read(1)
if os.fork():
    os._exit(0)
os.write(1, b"%d\\n" % os.getpid())
time.sleep(60)
"""


@pytest.fixture
def runs_away(monkeypatch):
    """Starts what ends as a daemon's main process does, and goes on, once, when processes have been listed.

    The child that was listed forks and dies before it is read; its own child is not in the list.
    """
    with contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        command = [sys.executable, "-c", RUNS_AWAY]
        main = subprocess.Popen(command, stdin=-1, stdout=-1, start_new_session=True, pass_fds=[theirs.fileno()])
        stack.callback(end_orphans)
        stack.enter_context(main.stdout)
        stack.enter_context(main.stdin)
        made = Family(main.pid, os.fstat(theirs.fileno()).st_ino, None)
        theirs.close()
        child = int(main.stdout.readline())
        assert main.wait() == 0
        listdir, listed = os.listdir, []

        def listing(path):
            names = listdir(path)
            if path == descendants.PROC and not listed:
                main.stdin.write(b"x")
                main.stdin.flush()
                listed.append(int(main.stdout.readline()))
                eventually(lambda: descendants.read_process(child).dead)
            return names

        monkeypatch.setattr(descendants.os, "listdir", listing)
        yield made, ours, listed


def test_who_is_forked_during_a_look_is_found_though_its_parent_has_died(runs_away):
    made, _, listed = runs_away
    assert [found.pid for found in made.members()] == listed


def test_who_is_forked_during_a_look_for_a_dialog_s_holders_is_killed(runs_away):
    _, dialog, listed = runs_away

    while descendants.kill_holders([dialog.fileno()], ()):
        time.sleep(0.01)

    assert not alive(listed[0])


def test_a_look_in_which_processes_go_on_dying_is_not_the_last(monkeypatch):
    """Somebody may be left whom none of them has shown."""
    deaths = iter(range(1, 1 + 2 * descendants.LOOKS))

    def listing():
        me = os.getpid()
        number = next(deaths, 2 * descendants.LOOKS)
        return iter([descendants.ProcessInfo(n, me, 1, n, dead=True) for n in range(1 << 23, (1 << 23) + number)])

    made = Family(1 << 23, 0, None)
    monkeypatch.setattr(descendants, "all_processes", listing)

    assert [made.kill(), made.kill(), made.kill()] == [True, True, False]


def test_a_daemon_that_holds_nothing_is_known_by_the_group_alone(family):
    """Without a control group such a process is not ours to know; nor can it take a client."""
    made, main, pids = family("daemon", 2)
    main.kill()
    main.wait()
    known = made.group is not None
    assert (pids[1] in {found.pid for found in made.members()}) is known
    end(made)
    assert alive(pids[1]) is not known
    if not known:
        os.kill(pids[1], signal.SIGKILL)


ESCAPE = """
import os, sys, time
dialog, behind = int(sys.argv[1]), sys.argv[2] == "behind another"
if os.fork():
    os._exit(0)
os.setsid()
if behind and os.fork():
    os.close(dialog)
else:
    os.write(1, b"%d\\n" % os.getpid())
while True:
    time.sleep(60)
"""


@pytest.fixture
def escaped():
    """Starts what leaves behind a process with a dialog and nothing else: the family, the kept end, the pid."""
    with contextlib.ExitStack() as stack:

        def start(kind="alone"):
            ours, theirs = (
                stack.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            )
            command = [sys.executable, "-c", ESCAPE, str(theirs.fileno()), kind]
            main = subprocess.Popen(command, stdout=-1, start_new_session=True, pass_fds=[theirs.fileno()])
            stack.enter_context(main.stdout)
            theirs.close()
            pid = int(main.stdout.readline())
            assert main.wait() == 0
            stack.callback(end_orphans)
            return Family(main.pid, 0, None), ours, pid

        yield start


def end_orphans():
    """What has escaped from a test, whatever it holds."""
    while descendants.kill_orphans():
        time.sleep(0.01)
    descendants.reap_orphans(frozenset())


@pytest.mark.parametrize("kind", ["alone", "behind another"])
def test_who_holds_a_dialog_and_nothing_else_is_found(escaped, kind):
    made, dialog, pid = escaped(kind)
    assert [found.pid for found in made.members([dialog.fileno()])] == [pid]

    while made.kill([dialog.fileno()]):
        time.sleep(0.01)

    assert not alive(pid) and dialog.recv(1) == b"", "the dialog has ended"


def test_who_escaped_from_a_server_that_is_gone_is_found(escaped):
    _, dialog, pid = escaped()

    while descendants.kill_holders([dialog.fileno()], ()):
        time.sleep(0.01)

    assert not alive(pid)


def test_a_process_of_ours_that_was_sent_the_dialog_is_spared(escaped):
    """A server can send its own end to its Distributor, as if that were another dialog."""
    made, dialog, pid = escaped()

    assert made.members([dialog.fileno()], spared=[os.getsid(pid)]) == [], "nor what is theirs"
    assert made.members([dialog.fileno()], spared=[pid]) == []
    assert not descendants.kill_holders([dialog.fileno()], [pid]) and alive(pid)


def test_others_are_left_alone(family):
    made, _, _ = family("plain", 3)
    other, _, others = family("plain", 3)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        end(made)
        assert all(map(alive, others)) and stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert len(other.members()) == 3


def test_orphans_are_reaped_by_number_and_known_children_are_not():
    known = subprocess.Popen(["true"])
    unknown = subprocess.Popen([sys.executable, "-c", "import os; print(os.fork() or os.getpid())"], stdout=-1)
    orphans = {int(line) for line in unknown.communicate()[0].split()}
    eventually(lambda: descendants.read_process(known.pid).dead)
    eventually(lambda: descendants.reap_orphans(frozenset({known.pid})), what="the orphan has been reaped")
    assert all(descendants.read_process(pid) is None for pid in orphans)
    assert os.waitid(os.P_PID, known.pid, os.WEXITED | os.WNOWAIT)  # its end was left for us to see
    known.wait()


def test_a_process_that_is_not_there():
    assert descendants.read_process(2**22 + 1) is None
    assert not descendants.holds(2**22 + 1, {5})


def test_a_name_with_brackets_and_spaces():
    code = (
        "import ctypes, time; ctypes.CDLL(None).prctl(15, b') S (1 2', 0, 0, 0); print(1, flush=True); time.sleep(60)"
    )
    odd = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        odd.stdout.readline()
        found = descendants.read_process(odd.pid)
        assert found.parent == os.getpid() and not found.dead
    finally:
        odd.kill()
        odd.communicate()


def test_groups_that_a_killed_monitor_has_left_are_removed(groups):
    if groups.base is None:
        pytest.skip("no control group can be made here")
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, own = groups.make(f"maitred-{dead.pid}-1"), groups.make(f"maitred-{os.getpid()}-1")
    Groups.find()
    assert not left.exists() and own.exists()
    own.rmdir()


def test_no_group_is_made_where_none_can_be(tmp_path):
    assert Groups(None).make("x") is None
    assert Groups(tmp_path / "not there").make("x") is None
