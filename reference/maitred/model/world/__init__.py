"""The closed system: one state of everything, and every step that leads on from it.

Theory of operation
-------------------
A `World` holds the state of the Monitor, of the Distributor if there is one, of each server's group of processes, the
messages on their way, the kernel's backlogs, and of each client what became of it.  `System.successors` gives every
action that is possible in a world, with the world it leads to.  All decisions are the machines': this package only
carries messages, clients and descriptors about, as the kernel does, and breaks things, within the budget of `Bounds`.

What is modelled, and how
-------------------------
*Channels* are first in, first out.  A channel gives what was sent, then its end once no process holds the other end.
(A reset that overtakes data, as real ones do, is no event of any machine: the shell reads on.)  An `Acknowledge` is
delivered at once, as it changes nothing.  What a machine brings upon itself (`Listening`, `Unsent`, `Audited`) is in a
queue of its own and may come before or after what others sent.

*Who holds a connection* is the world's own account, as the kernel would give it, and no machine's: a process has what
it accepted, was passed beside a message or had delivered to it, until it closes that, passes on what it alone had, or
dies.  (`Guest.at_distributor`, `Guest.at_monitor`, `Group.held`; and what is on its way lies beside its message.)  A
client that was accepted, has not ended, and is held nowhere, is lost; it is excused only where the process that had it
has died in that very step, at an instant that requirement OWN-3.6 names, or where its server did not take it whose
Distributor had died.  Whether the machines' books agree with this account is asked by properties.

*The Distributor dies at any point*: between two events, or in the midst of a step after any number of its effects.
What it had sent is on its way; what it held is gone; the dialogs and listening sockets of which the Monitor keeps a
duplicate stay.  (A dialog of which it does not is one whose bind is unanswered: the server holds both ends until then,
and asks again.)

*A server* is a main process and perhaps a forked child, which share the endpoint's state and hold the dialogs' ends.
`Kill` condemns them: they may act on until they are dead.  To read a message, to send the answer and to deliver the
client are three instants, between which a process may die while others live on, or a dialog may be full.  They are
steps of their own where the bounds have `interruptions` or `room`; elsewhere nothing could come between that matters,
as a process that dies takes the whole server with it, and they are one.

*Canonical form.*  Ranks are renumbered (`distributor.canonical`), and so are the sequence numbers of a server's counts
(`renumbered`): each with its counter, as `core.numbering` says.  Of a dead server nothing is left but what the
Distributor has yet to read.  `symmetry` does the same for arrivals and server ids, and, where asked to, identifies
worlds up to renaming; it says what all of this assumes of a machine.  A `System` can also renumber nothing (`first`).

*Speed.*  Every component of a world is interned, so that equal components are one object and a world is known exactly
by the identities of its components; each machine's step is taken once for each (state, event) and remembered.  Clients,
Monitor, Distributor and each server depend on a part of the world only: what each may do is remembered by that part
(`System.successors`), and so is the renaming by what it depends on (`Normal.names`).
"""

from maitred.model.world.actions import (
    Action,
    ClientCloses,
    ClientConnects,
    ConnectionLeaks,
    Deed,
    DistributorCutOff,
    DistributorEnds,
    DistributorStep,
    DistributorTakes,
    EffectDeclined,
    MachineStep,
    MonitorStep,
    PortDeed,
    ServerDeed,
    ServerStep,
)
from maitred.model.world.bounds import ANY, BOUNDS, REPEATABLE, Assumption, Bound, Bounds, Budget, weight_of
from maitred.model.world.machines import Judge, Stride
from maitred.model.world.state import (
    CLASS,
    Fate,
    Group,
    Guest,
    Kernel,
    Life,
    Link,
    Program,
    World,
    is_lost,
    is_reported,
    issued,
    released,
)
from maitred.model.world.system import Successor, System

__all__ = (
    "ANY",
    "BOUNDS",
    "CLASS",
    "REPEATABLE",
    "Action",
    "Assumption",
    "Bound",
    "Bounds",
    "Budget",
    "ClientCloses",
    "ClientConnects",
    "ConnectionLeaks",
    "Deed",
    "DistributorCutOff",
    "DistributorEnds",
    "DistributorStep",
    "DistributorTakes",
    "EffectDeclined",
    "Fate",
    "Group",
    "Guest",
    "Judge",
    "Kernel",
    "Life",
    "Link",
    "MachineStep",
    "MonitorStep",
    "PortDeed",
    "Program",
    "ServerDeed",
    "ServerStep",
    "Stride",
    "Successor",
    "System",
    "World",
    "is_lost",
    "is_reported",
    "issued",
    "released",
    "weight_of",
)
