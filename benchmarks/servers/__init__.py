"""The servers that stand behind every peer, unmodified: they know nothing of maitred or of HAProxy."""
