"""What must hold of the closed system, what a violation looks like, and what is assumed to happen in the end."""
