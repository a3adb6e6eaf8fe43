"""A server that brings each client's connection to its end in the way that the client names.

    python lifecycle_program.py PORT CONTROL CERTIFICATE

It is an ordinary program: it polls its listener, accepts, reads the name of a way, and goes that way in two steps. The
first leaves the connection in some state in which somebody still has it; the second lets go of the last handle. On the
Unix socket CONTROL it reports each step, and is sent when to make the next.  CERTIFICATE is a file, for TLS.
"""

import array
import contextlib
import ctypes
import gc
import multiprocessing
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

WAYS = {}


def way(function):
    """A way is a generator: it gets the connection, as the only reference to it, in a list, and yields in between."""
    WAYS[function.__name__] = function
    return function


def secured(connection):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3])
    return context.wrap_socket(connection, server_side=True)


class Child:
    """A process that was forked, and does something when it is asked to."""

    def __init__(self, work):
        self._read, self._write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._write)
            os.read(self._read, 1)  # until the parent closes the other end, or dies
            work()
            time.sleep(60)
            os._exit(1)
        os.close(self._read)

    def go(self):
        os.close(self._write)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


# ---------------------------------------------------------------- in one process


@way
def close(held):
    yield
    held.pop().close()


@way
def leave_a_with_block(held):
    with held.pop():
        yield


@way
def drop_the_reference(held):
    yield
    held.clear()


@way
def collect_a_cycle(held):
    cycle = [held.pop()]
    cycle.append(cycle)
    yield
    del cycle
    gc.collect()


@way
def close_the_file_that_outlives_the_socket(held):
    connection = held.pop()
    file = connection.makefile("rwb")
    connection.close()
    yield
    file.close()


@way
def detach_and_adopt(held):
    number = held.pop().detach()
    yield
    with socket.socket(fileno=number):
        pass


@way
def detach_and_close_the_number(held):
    number = held.pop().detach()
    yield
    os.close(number)


@way
def close_the_duplicate(held):
    connection = held.pop()
    other = connection.dup()
    connection.close()
    yield
    other.close()


@way
def close_what_fromfd_made(held):
    connection = held.pop()
    other = socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)
    connection.close()
    yield
    other.close()


@way
def dup2_another_over_it(held):
    number = held.pop().detach()
    null = os.open(os.devnull, os.O_RDONLY)
    yield
    os.dup2(null, number)
    os.close(null)
    os.close(number)


@way
def shut_down_and_close_later(held):
    connection = held.pop()
    connection.shutdown(socket.SHUT_RDWR)
    yield
    connection.close()


@way
def unwrap_tls(held):
    secure = secured(held.pop())
    plain = secure.unwrap()
    del secure
    yield
    plain.close()


@way
def close_tls_without_unwrapping(held):
    secure = secured(held.pop())
    yield
    secure.close()


@way
def end_the_thread_that_reads(held):
    def read(connection):
        while connection.recv(100) != b"end":
            pass

    thread = threading.Thread(target=read, args=[held.pop()])
    thread.start()
    yield
    thread.join()


# ---------------------------------------------------------------- with children


@way
def child_closes_last(held):
    child = Child(lambda: held.pop().close())
    held.pop().close()
    yield
    child.go()


@way
def parent_closes_last(held):
    child = Child(lambda: os._exit(0))
    child.go()
    os.waitpid(child.pid, 0)
    yield
    held.pop().close()


@way
def child_exits(held):
    child = Child(lambda: sys.exit(0))
    held.pop().close()
    yield
    child.go()


@way
def child_calls_os_exit(held):
    child = Child(lambda: os._exit(0))
    held.pop().close()
    yield
    child.go()


@way
def child_of_multiprocessing_ends(held):
    context = multiprocessing.get_context("fork")
    event = context.Event()
    process = context.Process(target=event.wait)
    process.start()
    held.pop().close()
    yield
    event.set()
    process.join()


@way
def a_program_with_preexec_fn_in_between(held):
    subprocess.run(["true"], preexec_fn=lambda: os.closerange(3, 99), check=True)
    yield
    held.pop().close()


@way
def a_program_that_could_not_be_started_in_between(held):
    with contextlib.suppress(OSError):
        subprocess.run(["/no/such/program"], preexec_fn=lambda: held[0].close(), check=True)
    yield
    held.pop().close()


# ---------------------------------------------------------------- seen when a child is reaped: the kernel is asked then


@way
def child_is_killed(held):
    child = Child(lambda: None)
    held.pop().close()
    yield
    child.kill()


@way
def program_that_inherits_it_ends(held):
    """Passed by number, over an exec; the program is nothing of ours."""
    connection = held.pop()
    process = subprocess.Popen(["sleep", "60"], pass_fds=[connection.fileno()])
    connection.close()
    yield
    process.kill()
    process.wait()


@way
def program_that_has_it_as_stdin_ends(held):
    connection = held.pop()
    process = subprocess.Popen(["sleep", "60"], stdin=connection)
    connection.close()
    yield
    process.kill()
    process.wait()


@way
def child_that_execs_ends(held):
    """`fork`, then exec, by hand."""
    held[0].set_inheritable(True)
    child = Child(lambda: os.execvp("sleep", ["sleep", "60"]))
    child.go()
    time.sleep(0.1)
    held.pop().close()
    yield
    child.kill()


@way
def process_that_received_it_ends(held):
    """A child that does not inherit it: it is sent to it."""
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def receive():
        _, fds, _, _ = socket.recv_fds(its, 1, 1)
        time.sleep(60)
        os.close(fds[0])

    connection = held.pop()
    number = connection.detach()
    child = Child(lambda: (os.close(number), receive()))
    child.go()
    socket.send_fds(mine, [b"x"], [number])
    os.close(number)
    its.close()
    time.sleep(0.1)
    yield
    child.kill()
    mine.close()


# ---------------------------------------------------------------- seen by the kernel alone


@way
def c_code_closes_it(held):
    """Past Python: an extension, `ctypes`."""
    number = held.pop().detach()
    yield
    ctypes.CDLL(None).close(number)


@way
def child_is_killed_and_never_waited_for(held):
    child = Child(lambda: None)
    held.pop().close()
    yield
    os.kill(child.pid, signal.SIGKILL)


@way
def child_is_killed_while_its_sibling_lives(held):
    children = Child(lambda: None), Child(lambda: held.pop().close())
    held.pop().close()
    children[0].kill()
    time.sleep(0.1)
    yield
    children[1].go()


@way
def parent_closes_after_its_child_was_killed(held):
    child = Child(lambda: None)
    child.kill()
    yield
    held.pop().close()


@way
def stranger_that_received_it_closes_it(held):
    """The test itself is sent the connection."""
    connection = held.pop()
    control.sendmsg([b"take\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fileno()]))])
    connection.close()
    yield


# ---------------------------------------------------------------- with the server


@way
def server_calls_os_exit(held):
    yield
    os._exit(3)


@way
def server_is_killed(held):
    yield
    os.kill(os.getpid(), signal.SIGKILL)


@way
def server_execs_another_program(held):
    held[0].set_inheritable(True)
    yield
    os.execvp("false", ["false"])


# ---------------------------------------------------------------- the server


def read_line(connection):
    line = b""
    while not line.endswith(b"\n"):
        line += connection.recv(1)
    return line.decode().strip()


def hear():
    word = control.recv(100)
    assert word == b"go\n", word


def main(port):
    listener = socket.create_server(("127.0.0.1", port))
    listener.setblocking(False)
    while True:
        select.select([listener], [], [])
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue  # something was asked of this server
        held = [connection]
        steps = WAYS[read_line(connection)](held)
        del connection
        next(steps)
        control.sendall(b"held\n")
        hear()
        next(steps, None)
        control.sendall(b"gone\n")


if __name__ == "__main__":
    control = socket.socket(socket.AF_UNIX)
    control.connect(sys.argv[2])
    main(int(sys.argv[1]))
