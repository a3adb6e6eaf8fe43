"""The program of the hostile class: one copy of it does what `attacks` describes, the others serve.

    python server.py KIND HOST PORT NOTES DIRECTORY UNBOUND SEED SECONDS ATTACK...

It is the program of the fault campaign, and serves as that does.  The copy that gets the lock on ``DIRECTORY/hostile``
is the hostile one; when it has died, the next that is started gets it.  As soon as ``DIRECTORY/war`` exists, the
hostile copy makes a few attacks of so many SECONDS each, then dies, in one way or another.  What it does is noted in
``DIRECTORY/deeds``: ``WHAT PID WORD AT``.
"""

import contextlib
import fcntl
import importlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))
honest = importlib.import_module("tests.faults.server")
attacks = importlib.import_module("tests.hostile.attacks")


ATTACKS_A_LIFE = 5
"""In a row, if it lives so long."""


class Notes:
    """Deeds, a line each, by whatever process."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, what, *words):
        os.write(self.fd, f"{what} {os.getpid()} {' '.join(map(str, words))} {time.monotonic()}\n".encode())


def life_of(directory):
    """Which hostile life this is, from 0; None: this copy is an honest one.

    The lock is this process's own and ends with it: what it forks does not have it.
    """
    fd = os.open(directory / "hostile", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    life = int(os.read(fd, 20) or b"0")
    os.pwrite(fd, str(life + 1).encode(), 0)
    return life


def let_go_of(path):
    """Have what this process would still write to the file go nowhere, so that nothing there is a hostile copy's."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(int(name)), path.stat()):
                os.dup2(nowhere, int(name), inheritable=False)


def turn_hostile(listener, unbound, directory, seed, seconds, names, life):
    """Wait for the war, then attack, then die."""
    note, rng = Notes(directory / "deeds"), attacks.rng_of(seed, life)
    note("hostile", 0)
    let_go_of(directory / "instance" / "trace")
    while not (directory / "war").exists():
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 0.3))  # it has clients by then
    try:
        for turn in range(life * ATTACKS_A_LIFE, (life + 1) * ATTACKS_A_LIFE):
            if not (directory / "war").exists():
                break
            order = attacks.rng_of(seed, turn // len(names)).sample(names, len(names))
            name = order[turn % len(names)]
            note("attack", name.replace(" ", "_"))
            signal.alarm(int(seconds) + 3)  # an attack that hangs in what it has broken itself ends, too
            attacks.ATTACKS[name](attacks.Insider(listener, unbound, note, rng, seconds))
    finally:
        note("over", 0)
        if rng.random() < 0.5:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)


def main():
    directory, unbound, seed, seconds, *names = sys.argv[5:]
    directory = Path(directory)
    life = life_of(directory)
    if life is not None:
        honest.notes = os.open(directory / "served by the hostile", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    server = honest.Threading((honest.HOST, honest.PORT), honest.Echo)
    if life is not None:
        arguments = (server.socket, int(unbound), directory, seed, float(seconds), names, life)
        threading.Thread(target=turn_hostile, args=arguments, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
