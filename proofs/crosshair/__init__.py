"""CrossHair on the core: for every event of every machine, a contract that is asked of all numbers at once.

A *contract* is about one kind of event.  Its *cases* are skeletons, generated one by one: which servers, ports, dialogs
and waiting clients there are, and of what kind.  Within a case the numbers are symbolic: how many clients a server has
and may have, sequence numbers, ranks, limits, the ids in the event, flags.  CrossHair runs the real `step` on them,
follows every branch that some numbers would take, and asks on each path:

1.  *inductive*: if the machine's invariants held before, they hold after;
2.  *total*: the step gives a `Transition` or a `Rejected`, and raises nothing;
3.  *pure*: neither the state nor the event has changed;
4.  *lawful*: what the step sends, and in which order, obeys the machine's laws (`effects`).

A case in which no path takes the step is reported as such: it shows only that the event is declined.

`engine` runs one case, `report` all of them; `distributor`, `server`, `monitor` and `tables` have the contracts, and
`effects` the laws.
"""
