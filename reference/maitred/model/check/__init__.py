"""What is asked of the closed system: one check within bounds, the manifest's, the portfolio's, and liveness."""
