"""What a running machine has done: written to a trace, played again, and checked as it happens by the verifier."""
