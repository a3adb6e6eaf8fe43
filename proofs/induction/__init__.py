"""What holds for any number of everything: the invariant, what it rests on, and progress."""
