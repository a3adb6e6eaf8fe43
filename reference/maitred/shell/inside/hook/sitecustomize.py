"""Makes a Python program that a server has exec'd one of that server's processes; see `maitred.shell.inside.workers`.

This directory is on the module search path of such a program only, first in PYTHONPATH, so that its interpreter imports
this file when it starts.  It removes both, then imports the user's own ``sitecustomize``.
"""

import os
import sys


def _become_a_worker() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    first, _, rest = os.environ.get("PYTHONPATH", "").partition(os.pathsep)
    if first == here:
        if rest:
            os.environ["PYTHONPATH"] = rest
        else:
            del os.environ["PYTHONPATH"]
    path = [entry for entry in sys.path if entry != here]
    sys.path_importer_cache.pop(here, None)
    if "MAITRED_SERVER" in os.environ:
        home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(here))))
        library = os.path.dirname(os.__file__)
        # The standard library first, as for the program itself: see maitred.shell.inside.exec_server.
        sys.path[:] = [home, *sorted(filter(None, path), key=lambda entry: not entry.startswith(library))]
        from maitred.shell.inside.bootstrap import join

        join()
    sys.path[:] = path


_become_a_worker()
del sys.modules["sitecustomize"]
# Where there is none, the error is what the interpreter expects then; else it takes what is in `sys.modules` by now.
import sitecustomize  # type: ignore[import-not-found]  # the user's, if any  # noqa: E402, F401  # ours made room
