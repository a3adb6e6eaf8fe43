"""A server notes which libraries it imports that make their sockets elsewhere; the report on each is known."""

import sys

import pytest
from tests.shell.fake import behind, script

from maitred.shell.inside import native_sockets
from maitred.shell.io.registry import Reader, Registry, create


@pytest.mark.parametrize(("noted", "named"), [(0, []), (1, ["uvloop"]), (6, ["granian", "grpc"]), (1 << 9, [])])
def test_each_bit_is_a_library(noted, named):
    assert [library.module for library in native_sockets.libraries(noted)] == named


def test_each_message_names_the_language_and_a_remedy():
    assert str(native_sockets.LIBRARIES[0]).startswith(
        "uvloop makes its sockets in C, out of reach: use asyncio's own event loop"
    )


def test_only_the_library_itself_is_noted_and_the_import_is_left_alone(tmp_path, monkeypatch):
    noted = []
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(tmp_path)
    native_sockets.watch(noted.append)
    script(tmp_path, "import uvloop_like, colorsys", "uvloop.py")
    script(tmp_path, "", "uvloop_like.py")
    try:
        import uvloop

        assert uvloop.__file__ == str(tmp_path / "uvloop.py")
        assert noted == [1]
    finally:
        for name in ("uvloop", "uvloop_like"):
            sys.modules.pop(name, None)


def test_a_registry_keeps_what_several_processes_have_noted():
    registry = Registry(create(1))
    reader = Reader(registry.fd, 1)
    assert reader.foreign == 0
    registry.note_foreign(4)
    registry.note_foreign(1)
    assert reader.foreign == 5
    assert reader.clients() == ()
    registry.close()


@pytest.mark.system
def test_the_monitor_sees_the_imports_of_a_worker(tmp_path):
    for name in ("granian", "grpc"):
        script(tmp_path, "", f"{name}.py")
    script(tmp_path, "import granian", "worker.py")
    text = "import grpc, subprocess, sys; subprocess.run([sys.executable, 'worker.py'], check=True)"
    with behind("script", script(tmp_path, text), directory=tmp_path) as (distributor, program):
        assert program.wait() == 0
        assert [library.module for library in native_sockets.libraries(distributor.registry.foreign)] == [
            "granian",
            "grpc",
        ]
