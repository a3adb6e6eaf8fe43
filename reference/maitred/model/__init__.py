"""The closed system: the three machines joined by channels, with clients and faults, and its exhaustive exploration.

==================  ======================================================================================
`world`             one state of the whole system, and every step that leads on from it
`properties`        what must always hold of it, and what must sometimes happen
`explorer`          every state that can be reached, breadth first
`checker`           an exploration within bounds, and the verdict on each property
`narrate`           a path through the system, told for people
`replay`            the trace of a real run, played through the machines again
==================  ======================================================================================

What is explored are the very `step` functions that drive the sockets; nothing of the machines is written again here.
"""
