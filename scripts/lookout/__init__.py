"""Lookout: one model, rendered to plain configuration, run by Docker Compose, proven by probes."""
