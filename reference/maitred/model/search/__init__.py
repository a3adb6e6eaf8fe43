"""Every reachable world, breadth first, by one process or several, in memory or on the disk."""
