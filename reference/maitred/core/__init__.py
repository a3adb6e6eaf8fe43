"""The pure core: three state machines, the messages between them, and nothing else.

It imports the standard library alone, does no I/O and reads no clock, so that any program can vendor it.

==================  ======================================================================================
`messages`          every message of the protocol and the values that messages carry
`transition`        what a step returns
`value`             how the classes of messages and states are made
`tree`              the persistent ordered map that the states are made of
`distributor`       the Distributor's machine
`server`            the Application Server's endpoint
`monitor`           the Monitor's machine, with the store
`durations`         the durations that can be configured
`timing`            how long each timer runs
`wire`              messages as bytes
`invariants`        what must hold of each machine's state by itself
==================  ======================================================================================
"""
