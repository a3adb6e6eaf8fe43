"""A path through the closed system for people: as text, and as a sequence diagram."""
