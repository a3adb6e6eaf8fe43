"""Seven slips of the pen that somebody may make who is new to the core: the default `maitred check` notices each."""

from proofs.mutation.core.mutant import Kind, Mutant

PLANTED = (
    Mutant(
        "the maximum is off by one",
        Kind.OFF_BY_ONE,
        "A server is handed a client more than it may have.",
        "distributor.ServerStatus.free_on",
        "self.count.clients < self.max_clients",
        "self.count.clients <= self.max_clients",
        refutes=("hand_offs_go_to_free_servers",),
    ),
    Mutant(
        "weights are inverted",
        Kind.WRONG_CHOICE,
        "The weaker processing element is given the more clients.",
        "distributor.Seat.__lt__",
        "self.load * other.weight, other.load * self.weight",
        "self.load * self.weight, other.load * other.weight",
        refutes=("the_chosen_server_was_least_loaded",),
    ),
    Mutant(
        "released after sent",
        Kind.ORDER_CHANGED,
        "After a Distributor's death, a client with a server is handed to a second one.",
        "distributor._Work.settle",
        "self.leave(client)\n                self.hand_off(client)",
        "self.hand_off(client)\n                self.leave(client)",
        refutes=("released_before_sent",),
    ),
    Mutant(
        "the sequence is ignored",
        Kind.SEQUENCE_IGNORED,
        "An old count overwrites a new one.",
        "distributor._received",
        "if message.count.sequence > status.count.sequence:",
        "if True:",
        refutes=("the_count_is_exact_when_dialogs_are_quiet",),
    ),
    Mutant(
        "owed is forgotten on adopt",
        Kind.FORGOTTEN,
        "A server with a hand-off unread is handed another client.",
        "distributor._adopt",
        "Tree.of((port, None) for port in event.owed)",
        "Tree()",
        refutes=("never_stale_low",),
    ),
    Mutant(
        "any dialog's end takes the client back",
        Kind.WRONG_WORD,
        "A client on its way on one port is handed to a second server as another port's dialog ends.",
        "distributor._dialog_ended",
        "if new.request is not None and new.request.port == event.port:",
        "if new.request is not None:",
        refutes=("hand_offs_go_to_free_servers",),
    ),
    Mutant(
        "arrivals begin again after a restart",
        Kind.FORGOTTEN,
        "After a Distributor's death, a client who comes later overtakes one who waited.",
        "distributor._restore",
        "work.state.next_arrival = max(work.state.next_arrival, event.client.arrival + 1)",
        "pass",
        refutes=("arrivals_lie_in_the_past",),
    ),
)
