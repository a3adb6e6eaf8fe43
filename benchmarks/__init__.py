"""What maitred costs: beside HAProxy (`python -m benchmarks`), and a step of its machines (`benchmarks.steps`)."""
