"""What runs in the processes of the user's program: a server's endpoint, and sockets that are dialogs.

=====================  =================================================================================
module                 what it does
=====================  =================================================================================
exec_server            settles the process that multiprocessing has started, then execs the interpreter
bootstrap              puts everything below in place, then runs the unmodified program
endpoint               reads dialogs, has the machine (`maitred.core.server`) step, sends its replies
control_socket         asks the Distributor for ports, reads its acknowledgements
stand_in               `bind`, `listen`, `accept` of a listener whose descriptor is a dialog
listener_socket        the socket class of such a listener
listener               what is known of it; `addresses`, `inherited_options`, `epoll_registrations` help
descriptor_table       which descriptors are listeners and connections, from where they come to their close
connections            clients' connections, until the last descriptor of each is closed
processes              fork, exec, the end of a process
workers                has Python programs that the server starts join as its processes; `hook` is their way in
passed_listeners       describes listeners that are passed to another process of the server
install                replaces functions of `os` and `socket`; `real_calls` keeps the real ones
green_threads          installs the same in the sockets of gevent and eventlet
native_sockets         names libraries that make sockets outside Python, which cannot be served
=====================  =================================================================================
"""

from maitred import compiled

__path__[:0] = compiled.path(__name__)
