"""How the tests of the core drive its machines: step after step, and with values drawn from the annotations."""

from dataclasses import fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from maitred.core.messages import Adopt, Client
from maitred.core.transition import Rejected, Transition

PORT, OTHER = 4049, 6157
ADDRESS, OTHER_ADDRESS = "0.0.0.0:4049", "0.0.0.0:6157"


def client(arrival, port=PORT):
    """The client that came as number `arrival`; its cookie is that plus 1,000."""
    return Client(arrival, 1_000 + arrival, port)


class Machine:
    """A machine in a state: it takes events, and shows what its last steps gave."""

    def __init__(self, module, state):
        self.module = module
        self.state = state
        self.effects = []
        self.events_seen = []
        self.effects_seen = []

    def take(self, *events):
        """Let the events happen, none of which may be declined; the effects of all, in order."""
        self.effects = []
        for event in events:
            outcome = self.module.step(self.state, event)
            assert isinstance(outcome, Transition), f"{event} was declined: {outcome}"
            self.state = outcome.state
            self.effects += outcome.effects
            self.events_seen.append(event)
        self.effects_seen += self.effects
        return self.effects

    def declines(self, event):
        """The reason why the event may not happen; None where it may."""
        outcome = self.module.step(self.state, event)
        return outcome.reason if isinstance(outcome, Rejected) else None

    def of(self, *kinds):
        """The last effects that are of one of the kinds, in order."""
        return [effect for effect in self.effects if isinstance(effect, kinds)]


def parts(hint):
    """The members of a union, however it is nested; of anything else, itself."""
    if get_origin(hint) in (Union, UnionType):
        return [part for arg in get_args(hint) for part in parts(arg)]
    return [hint]


def kinds_within(value):
    """The class of the value and of every value within it."""
    yield type(value)
    if is_dataclass(value):
        for field in fields(value):
            yield from kinds_within(getattr(value, field.name))


def adoptions(ids, ports):
    """`Adopt` as a Monitor sends it: weights and maxima of at least 1, and nothing owed but on its dialogs."""
    dialogs = st.lists(ports, unique=True, max_size=2).map(tuple)
    small, flag = st.integers(1, 3), st.booleans()
    return dialogs.flatmap(
        lambda kept: st.builds(
            Adopt,
            server=ids,
            max_clients=small,
            weight=small,
            dynamic=flag,
            draining=flag,
            dialogs=st.just(kept),
            owed=(st.lists(st.sampled_from(kept), unique=True) if kept else st.just([])).map(tuple),
        )
    )


def values(hint, *, integers, texts, instead=None):
    """Values of the annotated type, made of these integers and texts; `instead` has strategies for single types."""
    instead = instead or {}

    def of(kind):
        if kind in instead:
            return instead[kind]
        choices = parts(kind)
        if len(choices) > 1:
            return st.one_of([of(choice) for choice in choices])
        if kind is int:
            return integers
        if kind is str:
            return texts
        if kind is bool:
            return st.booleans()
        if kind is type(None):
            return st.none()
        if isinstance(kind, type) and issubclass(kind, Enum):
            return st.sampled_from(kind)
        if get_origin(kind) is tuple:
            args = get_args(kind)
            if args[-1] is Ellipsis:
                return st.lists(of(args[0]), max_size=4).map(tuple)
            return st.tuples(*(of(arg) for arg in args))
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: of(hints[field.name]) for field in fields(kind)})

    return of(hint)
