"""When is a client gone?  Each way in which a connection can live on or end, in a server with the native stand-in.

The program is that of `tests.compat.test_lifecycle`, in Python; to the library it is as any other.  The count is 1 as
long as anybody has a handle, and 0 once nobody has: without an audit, but for the ways that only the audit sees.
"""

import os
import sys

import pytest
from tests.compat import lifecycle_program
from tests.compat.lifecycle_program import WAYS
from tests.compat.test_lifecycle import ENDS_THE_SERVER, GONE, NEVER, PERIOD, Stage, certificate, end, prepared

__all__ = ["certificate"]
pytestmark = [pytest.mark.system, pytest.mark.compat]
SEEN_BY_THE_AUDIT = {
    "child_is_killed_and_never_waited_for",
    "child_is_killed_while_its_sibling_lives",
    "parent_closes_after_its_child_was_killed",
    "stranger_that_received_it_closes_it",
}
SEEN_BY_THE_SERVER = sorted(WAYS.keys() - SEEN_BY_THE_AUDIT - ENDS_THE_SERVER)


def stage(directory, native, certificate, period):
    def program(arguments):
        words = [os.path.realpath(sys.executable), "-I", lifecycle_program.__file__, *arguments]
        return {"program": words, "environment.LD_PRELOAD": f"{native}/libmaitred.so"}

    return Stage(directory, certificate, period, program)


@pytest.fixture(scope="module")
def unaudited(tmp_path_factory, native, certificate):
    made = stage(tmp_path_factory.mktemp("ways") / "unaudited", native, certificate, NEVER)
    yield made
    made.close()


@pytest.fixture(scope="module")
def audited(tmp_path_factory, native, certificate):
    made = stage(tmp_path_factory.mktemp("ways") / "audited", native, certificate, PERIOD)
    yield made
    made.close()


@pytest.mark.parametrize("way", SEEN_BY_THE_SERVER)
def test_the_server_itself_sees_it(unaudited, way):
    """Without any audit."""
    with unaudited.begin(way, prepare=prepared(way)) as client:
        unaudited.stays(1, 0.1)
        end(unaudited, way, client)
        unaudited.becomes(0)


@pytest.mark.parametrize("way", SEEN_BY_THE_SERVER)
def test_an_audit_keeps_an_open_connection(audited, way):
    with audited.begin(way, prepare=prepared(way)) as client:
        audited.stays(1, 3 * PERIOD)
        end(audited, way, client)
        audited.becomes(0)


@pytest.mark.parametrize("way", sorted(SEEN_BY_THE_AUDIT))
def test_the_audit_sees_it(audited, way):
    with audited.begin(way) as client:
        audited.stays(1, 3 * PERIOD)
        end(audited, way, client)
        audited.becomes(0)


@pytest.mark.parametrize("way", sorted(SEEN_BY_THE_AUDIT))
def test_without_an_audit_it_is_not_noticed(unaudited, way):
    with unaudited.begin(way) as client:
        unaudited.stays(1, 0.1)
        end(unaudited, way, client)
        unaudited.stays(1, 2 * GONE)
    unaudited.replace_server()


@pytest.mark.parametrize("way", sorted(ENDS_THE_SERVER))
def test_the_end_of_the_server_is_that_of_its_clients(unaudited, way):
    before = unaudited.pid()
    with unaudited.begin(way) as client:
        unaudited.stays(1, 0.1)
        unaudited.go()
        assert client.recv(1) == b""
        unaudited.expect_server()
        assert unaudited.pid() != before
