"""Readers of single values: what the text or TOML value means, or a `ConfigError` that says what would be right.

Every reader takes any object at all (TOML has ten types; the command line has text), touches nothing outside of its
argument, and raises nothing but `ConfigError`.  The message has the value and what it should be; the caller adds where
it was found.
"""

from __future__ import annotations

import math
import re
import shlex
import signal
from collections.abc import Callable, Iterable
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, TypeAlias, TypeVar

from maitred.config import placeholders
from maitred.config.error import ConfigError

T = TypeVar("T")
S = TypeVar("S")
Reader: TypeAlias = Callable[[object], T]

MAX_SERVERS: Final = 4096
"""Of one kind in one class: what the Distributor's step is measured at."""
MAX_CLIENTS: Final = 16384
"""Of one server: its registry of connections has so many slots."""
MAX_PORTS: Final = 128
"""Of one class: a server's registry has room for so many."""
MAX_WAITING: Final = 1_000_000
MAX_SECONDS: Final = 1_000_000.0
"""About 11 days; epoll's own limit is 24."""
MAX_LISTENERS: Final = 1024
"""Of all classes: each address is compared with each."""
MAX_WEIGHT: Final = 1_000_000
MAX_CPU: Final = 1 << 16
NUMBERS: Final = {
    "static": (1, MAX_SERVERS),
    "dynamic": (0, MAX_SERVERS),
    "max_clients": (1, MAX_CLIENTS),
    "waiting_limit": (1, MAX_WAITING),
    "weight": (1, MAX_WEIGHT),
}
"""The least and the most of each key that is a whole number."""
MIN_MEMORY: Final = 16 << 20
"""A bare interpreter needs about that much."""

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HOST: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")
_SIZE: Final = re.compile(r"(\d{1,15})\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_RANGE: Final = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


def shown(value: object) -> str:
    """The value as a message should show it: quoted, and not for pages."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def wrong(value: object, right: str) -> ConfigError:
    """The error for a value that should be something else."""
    return ConfigError(f"{shown(value)} will not do: should be {right}")


# ================================================================ text


def text(value: object) -> str:
    """Any text that can be handed to the kernel."""
    if not isinstance(value, str):
        raise wrong(value, "a string")
    if "\0" in value:
        raise wrong(value, "a string without NUL characters")
    return value


def filled(value: object) -> str:
    """Text that is not empty."""
    if not text(value):
        raise wrong(value, "a string that is not empty")
    return str(value)


def name(value: object) -> str:
    """What names an instance, a class or an element, in messages and in file names."""
    if not isinstance(value, str) or not is_name(value):
        raise wrong(value, "a name: at most 64 letters, digits, '_', '-' and '.', beginning with a letter or digit")
    return value


def is_name(value: object) -> bool:
    """Whether it is such a name."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def module(value: object) -> str:
    """A module as ``python -m`` takes it."""
    if not isinstance(value, str) or not all(part.isidentifier() for part in value.split(".")):
        raise wrong(value, "the dotted name of a module, such as 'http.server'")
    return value


def listed(item: Reader[T]) -> Reader[tuple[T, ...]]:
    """A list of what `item` reads."""

    def read(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise wrong(value, "a list, in square brackets")
        return tuple(at(f"item {index}", item, each) for index, each in enumerate(value))

    return read


def at(where: str, reader: Callable[[S], T], value: S) -> T:
    """Read the value; a complaint about it begins with where it stands."""
    try:
        return reader(value)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


# ================================================================ numbers


def whole(low: int, high: int) -> Reader[int]:
    """A whole number in a range."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise wrong(value, f"a whole number from {low} to {high}")
        return value

    return read


def whole_of(key: str) -> Reader[int]:
    """The whole number of this key."""
    return whole(*NUMBERS[key])


def seconds(low: float) -> Reader[float]:
    """A duration of at least `low`."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= MAX_SECONDS:
            raise wrong(value, f"a number of seconds from {low:g} to {MAX_SECONDS:.0f}")
        return float(value)

    return read


def number(written: str) -> int | float | str:
    """The number that stands on the command line, or the text itself where none does."""
    plain = written.strip()
    if not plain.isascii() or len(plain) > 40:
        return written
    try:
        return int(plain, 10)
    except ValueError:
        pass
    try:
        value = float(plain)
    except ValueError:
        return written
    return value if math.isfinite(value) else written


def memory(value: object) -> int:
    """Bytes: a number, or text such as ``"512M"`` or ``"2 GiB"``; K, M, G and T are powers of 1024."""
    size = value
    if isinstance(value, str) and value.isascii() and (match := _SIZE.fullmatch(value.strip())):
        size = int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ")
    if not isinstance(size, int) or isinstance(size, bool) or not MIN_MEMORY <= size < 1 << 62:
        raise wrong(value, f"a number of bytes, at least {MIN_MEMORY >> 20}M, such as 536870912 or '512M'")
    return size


def cpus(value: object) -> tuple[int, ...]:
    """CPU numbers: a list, one number, or text such as ``"0-3,8"``; in order, each once."""
    right = "CPU numbers, such as [0, 1] or '0-3,8'"
    found: set[int] = set()
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    for part in parts:
        match = _RANGE.fullmatch(part.strip()) if isinstance(part, str) and part.isascii() else None
        if match:
            first, last = int(match[1]), int(match[2] or match[1])
        elif isinstance(part, int) and not isinstance(part, bool):
            first = last = part
        else:
            raise wrong(value, right)
        if not 0 <= first <= last <= MAX_CPU:
            raise wrong(value, right)
        found.update(range(first, last + 1))
    if not found:
        raise wrong(value, right)
    return tuple(sorted(found))


# ================================================================ addresses


def listener(value: object) -> tuple[int, str]:
    """Where to listen: ``8000``, ``":8000"``, ``"HOST:8000"`` or ``"[IPV6]:8000"``, as (port, "host:port").

    No host, or ``*``, is every interface, by IPv4 and IPv6: the address is then ``"*:8000"``.
    """
    right = "[HOST:]PORT, such as 8000, '127.0.0.1:8000' or '[::1]:8000'"
    if isinstance(value, int) and not isinstance(value, bool):
        return _port(value, str(value)), f"*:{value}"
    if not isinstance(value, str):
        raise wrong(value, right)
    host, colon, port_text = value.strip().rpartition(":")
    port = _port(value, port_text)
    if not colon or host in ("", "*"):
        return port, f"*:{port}"
    if host.startswith("[") and host.endswith("]"):
        return port, f"[{_ipv6(value, host[1:-1])}]:{port}"
    if ":" in host:
        raise wrong(value, f"{right}: an IPv6 address stands in brackets")
    return port, f"{_host(value, host)}:{port}"


def _port(value: object, digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9 and 1 <= int(digits) <= 65535):
        raise wrong(value, "[HOST:]PORT, where PORT is a number from 1 to 65535")
    return int(digits)


def _ipv6(value: object, host: str) -> str:
    try:
        return str(IPv6Address(host))
    except AddressValueError:
        raise wrong(value, "[HOST:]PORT, where what stands in brackets is an IPv6 address") from None


def _host(value: object, host: str) -> str:
    if set(host) <= set("0123456789."):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise wrong(value, "[HOST:]PORT, where HOST is a name or an IP address") from None
    if not _HOST.fullmatch(host):
        raise wrong(value, "[HOST:]PORT, where HOST is a name or an IP address")
    return host.lower()


def overlap(one: str, other: str) -> bool:
    """Whether the kernel would refuse to listen on both addresses: the same, or one covers the other."""
    (host, _, port), (other_host, _, other_port) = one.rpartition(":"), other.rpartition(":")
    if port != other_port:
        return False
    if host == other_host or "*" in (host, other_host):
        return True
    if host.startswith("[") and other_host.startswith("["):
        return "[::]" in (host, other_host)
    if host.startswith("[") or other_host.startswith("["):
        return False
    return "0.0.0.0" in (host, other_host)


def listeners(value: object) -> tuple[tuple[int, str], ...]:
    """One address, or a list of them, no two of which collide."""
    many = value if isinstance(value, list) else [value]
    found = listed(listener)(many) if isinstance(value, list) else (listener(value),)
    if not found:
        raise wrong(value, "at least one [HOST:]PORT; leave the key out to let the program decide")
    apart(address for _, address in found)
    return found


def apart(addresses: Iterable[str]) -> None:
    """Raise if two of the addresses collide, or if they are of more ports than a server can bind."""
    seen: list[str] = []
    for address in addresses:
        few_listeners(len(seen) + 1)
        for other in seen:
            if other == address:
                raise ConfigError(f"{address} is given twice")
            if overlap(other, address):
                raise ConfigError(f"{other} and {address} collide: give one of them")
        seen.append(address)
    ports = {address.rpartition(":")[2] for address in seen}
    if len(ports) > MAX_PORTS:
        raise ConfigError(f"{len(ports)} ports are given; a class has at most {MAX_PORTS}: make several classes")


def few_listeners(number: int) -> None:
    """Raise if so many addresses are too many to be compared with each other."""
    if number > MAX_LISTENERS:
        raise ConfigError(f"too many addresses; at most {MAX_LISTENERS} fit, those of all classes together")


# ================================================================ tables


def truth(value: object) -> bool:
    """A truth value."""
    if not isinstance(value, bool):
        raise wrong(value, "true or false")
    return value


def not_both(verify: bool, trace: str | None) -> bool:
    """Whether steps are to be verified; not together with a trace, because a process records its steps in one place."""
    if verify and trace is not None:
        raise ConfigError("cannot be combined with a trace, which `maitred replay` checks: use one of the two")
    return verify


def stop_signal(value: object) -> int:
    """A signal that a program can heed, by name, as ``TERM`` or ``SIGTERM``."""
    if isinstance(value, str):
        number = signal.Signals.__members__.get("SIG" + value.upper().removeprefix("SIG"))
        if number not in (None, signal.SIGKILL, signal.SIGSTOP):
            return int(number)
    raise wrong(value, "the name of a signal that a program can heed, such as 'TERM', 'INT' or 'QUIT'")


def environment(value: object) -> tuple[tuple[str, str], ...]:
    """A table of environment variables."""
    if not isinstance(value, dict):
        raise wrong(value, "a table of strings, such as { LANG = 'C.UTF-8' }")
    found = []
    for key, item in value.items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise ConfigError(f"{shown(key)} cannot name an environment variable")
        if key in _OWN_VARIABLES:
            raise ConfigError(f"{key} is maitred's own: choose another name")
        if not isinstance(item, str) or "\0" in item:
            raise ConfigError(f"{key}: {wrong(item, 'a string: what a variable holds is text, so put it in quotes')}")
        found.append((key, item))
    return tuple(sorted(found))


_OWN_VARIABLES: Final = frozenset({"MAITRED_SERVER", "MAITRED_CONTROL", placeholders.NUMBER})


def interpreter_options(value: object) -> tuple[str, ...]:
    """Options for the interpreter that leave it to run the program: a list, or text as a shell would split it."""
    right = "interpreter options such as '-O' or ['-X', 'utf8']; what to run is given by module or script"
    try:
        options = tuple(shlex.split(text(value))) if isinstance(value, str) else listed(filled)(value)
    except ValueError as error:  # an open quotation, or what the list complains of
        raise error if isinstance(error, ConfigError) else wrong(value, right) from None
    left = iter(options)
    for option in left:
        if not _leaves_the_program(option) or (option in _WITH_ARGUMENT and next(left, None) is None):
            raise wrong(value, right)
    return options


_WITH_ARGUMENT: Final = ("-X", "-W", "--check-hash-based-pycs")


def _leaves_the_program(option: str) -> bool:
    """Whether the interpreter, given this option, still runs the program that follows."""
    if option.startswith("--"):
        return option == "--check-hash-based-pycs"
    letters = option[1:].partition("X")[0].partition("W")[0]
    return option.startswith("-") and len(option) > 1 and not set(letters) & set("cmhV?")
