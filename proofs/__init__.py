"""What shows that the checks can fail, and, in time, the proofs for any number of servers and clients."""
