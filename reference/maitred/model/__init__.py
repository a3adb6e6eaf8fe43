"""The closed system: the three machines joined by channels, with clients and faults, and its exhaustive exploration.

=================  =======================================================================================
`world`            one state of the whole system, and every step that leads on from it
`claims.safety`    what must always hold of it, and what must sometimes happen
`claims.fairness`  what may be assumed to happen in the end
`search.explorer`  every state that can be reached, breadth first
`check.checker`    an exploration within bounds, and the verdict on each property
`check.liveness`   what must happen in the end
`check.manifest`   the configurations that are explored, and what must come of it
`story.narrate`    a path through the system in words; `story.explanation`: why a property is broken at its end
`story.diagram`    a path as a file: a picture, or Mermaid
=================  =======================================================================================

What is explored are the very `step` functions that drive the sockets; nothing of the machines is written again here.
"""
