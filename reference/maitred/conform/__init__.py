"""The conformance kit: whether a program in any language keeps the protocol, and if not, where it does not.

``maitred conform`` starts a program, plays everybody around it on real sockets, and checks each answer by the machines
of `maitred.core`.  A case is a function with a name, a sentence and the ids of the requirements that it asks for:

==========================  ==========================================================================================
module                      what
==========================  ==========================================================================================
`maitred.conform.cases`     what a case is; how cases are chosen and run
`maitred.conform.report`    outcomes as text, JSON and JUnit XML; the file of expected failures
`maitred.conform.testee`    the program under test: started by the start contract, ended with all its processes
`maitred.conform.follower`  follows an endpoint from outside by `maitred.core.server`
`maitred.conform.bench`     Monitor, Distributor and clients of one endpoint
`maitred.conform.endpoint`  the cases for an endpoint
`maitred.conform.program`   an ordinary server that listens and closes on demand
==========================  ==========================================================================================
"""
