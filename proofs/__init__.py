"""The proofs for any number of servers and clients, the bridge from them to the code, and what shows they can fail."""
