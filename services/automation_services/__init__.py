"""Jobs from a queue: files, workflows; and the review pipeline."""
