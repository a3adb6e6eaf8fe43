"""One value at a time: what is meant by what was written, and that nothing but ConfigError is ever raised."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.config import values
from maitred.config.error import ConfigError

READERS = {
    "text": values.text,
    "filled": values.filled,
    "name": values.name,
    "module": values.module,
    "listed": values.listed(values.listed(values.filled)),
    "whole": values.whole(1, 4096),
    "seconds": values.seconds(0),
    "memory": values.memory,
    "cpus": values.cpus,
    "listener": values.listener,
    "listeners": values.listeners,
    "environment": values.environment,
    "interpreter_options": values.interpreter_options,
}

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.datetimes() | st.times()
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@given(value=ANYTHING)
def test_a_reader_raises_nothing_but_config_error(reader, value):
    with suppress(ConfigError):
        reader(value)


@given(st.text(alphabet="0123456789:[]*.abcdef%-, KMGTiB", max_size=30))
def test_nor_for_text_that_looks_almost_right(text):
    for reader in READERS.values():
        with suppress(ConfigError):
            reader(text)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("8000", (8000, "*:8000")),
        (8000, (8000, "*:8000")),
        (":8000", (8000, "*:8000")),
        ("*:8000", (8000, "*:8000")),
        ("0.0.0.0:8000", (8000, "0.0.0.0:8000")),
        ("localhost:8000", (8000, "localhost:8000")),
        ("LocalHost:8000", (8000, "localhost:8000")),
        ("[::1]:8000", (8000, "[::1]:8000")),
        ("[0:0::0:1]:8000", (8000, "[::1]:8000")),
        ("[fe80::1%eth0]:8000", (8000, "[fe80::1%eth0]:8000")),
        (" 127.0.0.1:1 ", (1, "127.0.0.1:1")),
        ("65535", (65535, "*:65535")),
        ("0080", (80, "*:80")),
    ],
)
def test_an_address_is_read(written, meant):
    assert values.listener(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        *("", ":", "0", "65536", "-1", "80x", "host", "host:", "::1:80", "[::1]", "[::1]80", "[nonsense]:80", "a b:80"),
        *("127.0.0.256:80", "1.2.3:80", "-x:80", "x..y:80", "²:80", "8²", "1" * 40, 0, 65536, True, 80.0, None, [80]),
    ],
)
def test_a_wrong_address_is_explained(written):
    with pytest.raises(ConfigError, match=r"\[HOST:\]PORT"):
        values.listener(written)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_ip_address_is_read_and_read_again(address, port):
    host = f"[{address}]" if address.version == 6 else str(address)
    read = values.listener(f"{host}:{port}")
    assert read[0] == port
    assert values.listener(read[1]) == read


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("*:80", "*:80", True),
        ("*:80", "*:81", False),
        ("*:80", "127.0.0.1:80", True),
        ("*:80", "[::1]:80", True),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "[::1]:80", False),
        ("0.0.0.0:80", "[::]:80", False),  # each its own family
        ("[::]:80", "[::1]:80", True),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("[::1]:80", "[::2]:80", False),
    ],
)
def test_addresses_collide_as_the_kernel_sees_it(one, other, collide):
    assert values.overlap(one, other) is collide
    assert values.overlap(other, one) is collide


@pytest.mark.parametrize("written", [["80", ":80"], ["127.0.0.1:80", 80], []])
def test_listeners_that_collide_are_refused(written):
    with pytest.raises(ConfigError):
        values.listeners(written)


def test_more_ports_than_a_server_can_bind_are_refused():
    ports = list(range(1, 129))
    both = [f"{host}:{port}" for port in ports for host in ("0.0.0.0", "[::]")]
    assert len(values.listeners(both)) == 2 * len(values.listeners(ports)) == 256
    with pytest.raises(ConfigError, match="129 ports are given; a class has at most 128: make several classes"):
        values.listeners([*ports, 129])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (3, (3,)),
        ([1, 0, 1], (0, 1)),
        ("0-2,5", (0, 1, 2, 5)),
        ("7", (7,)),
        (["0-1", 4], (0, 1, 4)),
    ],
)
def test_cpus_are_read(written, meant):
    assert values.cpus(written) == meant


@pytest.mark.parametrize("written", ["", [], "3-1", "-1", -1, True, 1.5, "0-999999999", "a", None, {"a": 1}])
def test_wrong_cpus_are_explained(written):
    with pytest.raises(ConfigError, match="CPU numbers"):
        values.cpus(written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [(1 << 30, 1 << 30), ("512M", 512 << 20), ("2 GiB", 2 << 30), ("64mb", 64 << 20), ("1T", 1 << 40)],
)
def test_memory_is_read(written, meant):
    assert values.memory(written) == meant


@pytest.mark.parametrize("written", [0, -1, 1000, "1K", "lots", "", True, 1e9, "9999999999999T", "1.5G"])
def test_nonsense_memory_is_explained(written):
    with pytest.raises(ConfigError, match="at least 16M"):
        values.memory(written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ([], ()),
        ("-O -X utf8", ("-O", "-X", "utf8")),
        (["-Xutf8", "-W", "error"], ("-Xutf8", "-W", "error")),
        ("-Wmodule", ("-Wmodule",)),  # its c, m, h are no options
        ("--check-hash-based-pycs always -B", ("--check-hash-based-pycs", "always", "-B")),
    ],
)
def test_interpreter_options_are_read(written, meant):
    assert values.interpreter_options(written) == meant


@pytest.mark.parametrize(
    "written", ["-c pass", ["-m"], "-Oc", "--help", "-", "app.py", "-X", "'open", ["-X utf8", "x"], ["-h"], 3, [""]]
)
def test_interpreter_options_that_would_run_something_else_are_refused(written):
    with pytest.raises(ConfigError):
        values.interpreter_options(written)


@pytest.mark.parametrize(
    ("written", "number"),
    [("3", 3), ("-3", -3), ("0.5", 0.5), (" 7 ", 7), ("x", "x"), ("nan", "nan"), ("inf", "inf"), ("٣", "٣"), ("", "")],
)
def test_numbers_of_the_command_line(written, number):
    assert values.number(written) == number


@given(st.text())
def test_any_text_is_a_number_or_itself(written):
    assert isinstance(values.number(written), (int, float, str))


def test_a_long_value_is_not_shown_for_pages():
    with pytest.raises(ConfigError) as caught:
        values.cpus("x" * 10_000)
    assert len(str(caught.value)) < 200


def test_an_error_within_a_list_names_the_place():
    with pytest.raises(ConfigError, match=r"^item 1: ''"):
        values.listed(values.filled)(["a", ""])


@pytest.mark.parametrize("table", [{"": "x"}, {"A=B": "x"}, {"A": 1}, {"A": "\0"}, {"MAITRED_SERVER": "x"}, [], None])
def test_a_wrong_environment_is_explained(table):
    with pytest.raises(ConfigError):
        values.environment(table)


def test_an_environment_is_read():
    assert values.environment({"B": "2", "A": ""}) == (("A", ""), ("B", "2"))
