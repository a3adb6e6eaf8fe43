"""The conformance kit: whether a program in any language keeps the protocol, and if not, where it does not.

``maitred conform`` starts a program, plays everybody around it on real sockets or asks it the test vectors, and checks
each answer by the machines of `maitred.core`.  A case has a name, a sentence, and the requirements that it asks for:

============================  ==========================================================================================
module                        what
============================  ==========================================================================================
`maitred.conform.cases`       what a case is; how cases are chosen and run
`maitred.conform.report`      outcomes as text, JSON and JUnit XML; the file of expected failures
`maitred.conform.testee`      the program under test: started by the start contract, ended with all its processes
`maitred.conform.follower`    follows an endpoint from outside by `maitred.core.server`
`maitred.conform.bench`       Monitor, Distributor and clients of one endpoint
`maitred.conform.endpoint`    the cases for an endpoint
`maitred.conform.program`     an ordinary server that listens and closes on demand
`maitred.conform.lines`       a program that answers lines of JSON
`maitred.conform.steps`       the cases for an implementation of the machines' steps: the vectors
`maitred.conform.recordings`  the cases for recorded traces
============================  ==========================================================================================
"""
