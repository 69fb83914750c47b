"""The one window to the engine's socket: it lists the containers that want to be discovered, and does nothing else."""
