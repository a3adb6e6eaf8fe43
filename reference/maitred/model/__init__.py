"""The closed system: the three machines joined by channels, with clients and faults, and its exhaustive exploration.

`world`   one state of the whole system, and every step from it; canonical form and symmetry; recorded runs
`search`  every state that can be reached, breadth first: fingerprints, shards, several processes, checkpoints
`claims`  what must always hold, must sometimes happen, or may be assumed to happen in the end
`check`   verdicts within bounds: safety, liveness (graph, cycles, requested timers), the manifest, the portfolio
`story`   a path in words, as a sequence of messages, and as a picture

What is explored are the very `step` functions that drive the sockets; nothing of the machines is written again here.
"""
