"""The machine in C takes each event as the core's does; one that is bent does not."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.native.machines import choices, difference

from maitred.core.messages import Client, HandOff, InitialMsg
from maitred.core.wire import encode

NATIVE = Path(__file__).parents[2] / "reference" / "native"
DRIVER = Path(__file__).parent / "driver.c"
FLAGS = (
    "-std=c11",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)
NUMBER = st.integers(0, (1 << 16) - 1)


def build(directory, machine=NATIVE / "machine.c", flags=FLAGS):
    made = directory / "driver"
    sources = [DRIVER, machine, NATIVE / "wire.c"]
    subprocess.run(["cc", *flags, "-I", NATIVE, "-o", made, *sources], check=True, timeout=100)
    return made


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    return build(tmp_path_factory.mktemp("machine"))


@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), max_size=60))
@settings(max_examples=15, deadline=None)
def test_the_machines_agree(driver, events):
    assert difference(driver, events) is None


def test_the_machines_agree_for_long(driver):
    for seed in range(2):
        assert difference(driver, choices(seed, 1500)) is None


BENT = {
    "a count leaves out who has just come": (
        "        add_client(state, client);\n        issue_for(state, port, ACCEPTED, client);",
        "        issue_for(state, port, ACCEPTED, client);\n        add_client(state, client);",
    ),
    "a hand-off without its descriptor is taken": ("if (intact && listener_on", "if (listener_on"),
    "a client of another port is taken": ("message.client.port != event->port", "message.client.port == 0"),
    "an outdated reply stays": ("return same && old->port == port;", "return false && same && old->port == port;"),
    "a client leaves before it was delivered": ("return NOT_DELIVERED;", "break;"),
    "whoever was with a process that died stays": ("remove_client(state, &reply.message.client);", ""),
    "an InitialMsg is owed two answers": (
        "set_listener(state, port, true, 0);\n",
        "set_listener(state, port, true, asked);\n",
    ),
    "a forgotten client is counted": ("i < message->forgotten", "i + 1 < message->forgotten"),
}


@pytest.mark.parametrize("bend", BENT)
def test_a_bent_machine_is_noticed(tmp_path, bend):
    source, (right, wrong) = (NATIVE / "machine.c").read_text(), BENT[bend]
    assert source.count(right) == 1
    bent = tmp_path / "machine.c"
    bent.write_text(source.replace(right, wrong))
    driver = build(tmp_path, bent, ("-std=c11", "-D_GNU_SOURCE", "-w"))
    assert any(difference(driver, choices(seed, 500)) for seed in range(6))


@pytest.mark.parametrize("message", [HandOff, InitialMsg])
def test_no_packet_harms_the_decoder(driver, message):
    """Cut, lengthened and changed packets, under the address sanitizer."""
    some = Client(1, 2, 4049)
    whole = encode(HandOff(some) if message is HandOff else InitialMsg(1, (some,) * 3))
    packets = [whole[:i] for i in range(len(whole))]
    packets += [whole + b"\0" * i for i in range(1, 30)]
    packets += [whole[:i] + bytes([byte]) + whole[i + 1 :] for i in range(len(whole)) for byte in (0, 1, 0x7F, 0xFF)]
    lines = "".join(f"read 4049 1 {packet.hex()}\n" for packet in packets)
    done = subprocess.run(
        [driver], input=f"bound 4049\nlistened 4049\n{lines}", capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(packets) + 2
