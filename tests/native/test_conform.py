"""The native stand-in under an unmodified program passes the conformance kit; `make native-check` asks all of it."""

import os
import sys

from tests.conform.test_endpoint import ROOT, kit

QUICK = ("full_dialog_delivers", "closed_listener", "two_ports", "free_descriptor", "no_message")


def test_the_native_stand_in_passes(native):
    """The program is Python's, and unmodified: `--as-is`, and isolated from the Python stand-in."""
    chosen = [word for text in QUICK for word in ("-k", text)]
    python = os.path.realpath(sys.executable)
    program = ROOT / "reference/maitred/conform/program.py"
    preload = ("/usr/bin/env", f"LD_PRELOAD={native}/libmaitred.so")
    code, document, said = kit("--directed", "--as-is", *chosen, "--", *preload, python, "-I", program, "4049")
    assert code == 0, said
    assert {case["verdict"] for case in document["cases"]} == {"passed"}
    assert len(document["cases"]) >= len(QUICK)
