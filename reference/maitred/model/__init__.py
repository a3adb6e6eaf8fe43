"""The closed system: the three machines joined by channels, with clients and faults, and its exhaustive exploration.

==================  ======================================================================================
`world`             one state of the whole system, and every step that leads on from it
`symmetry`          names that mean nothing: one state for all those that differ only in how things are numbered
`properties`        what must always hold of it, and what must sometimes happen
`explorer`          every state that can be reached, breadth first
`prints`            what a state is known by: a fingerprint that is the same in every process
`shard`             the states of one process, and what it knows of them
`parallel`          an exploration by several processes
`checkpoint`        an exploration that was interrupted goes on
`checker`           an exploration within bounds, and the verdict on each property
`manifest`          the configurations that are explored, and what must come of it
`fairness`          what may be assumed to happen in the end
`asked`             which timers have been asked for
`graph`             the states and the steps between them, as a graph
`cycles`            the rounds in it that are fair, and go on for ever
`liveness`          what must happen in the end
`words`             the system in words and tables
`narrate`           a path through the system, told for people
`explain`           why a property is broken
`scene`             who sends what to whom along a path
`svg`               a path as a picture
`diagram`           a path as a file: a picture, or Mermaid
`replay`            the trace of a real run, played through the machines again
==================  ======================================================================================

What is explored are the very `step` functions that drive the sockets; nothing of the machines is written again here.
"""
