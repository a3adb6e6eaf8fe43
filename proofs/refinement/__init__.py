"""What ties the relation to the code: the abstraction, the bridge, and two interpreters of one text."""
