"""Records each step of the running machines, and checks the records against the machines.

There are two ways.  An instance goes one of them:

=================  =====================================  ====================================================
way                who writes what to whom                who checks
=================  =====================================  ====================================================
``run --trace``    `trace`: each process appends lines    `replay`, afterwards: ``maitred replay FILE``
                   of JSON to one file
``run --verify``   `trace`: each process appends records  `verifier_process`, as it happens: it reads the rings
                   (`encoding`) to its machine's `ring`   and has `replay` take the same steps
=================  =====================================  ====================================================

In either way, a machine records an event before it performs the event's effects, and each effect when it has been
performed.  `verifier` is the Monitor's side of the second: it makes the rings, starts the process, and reports its
numbers.
"""
