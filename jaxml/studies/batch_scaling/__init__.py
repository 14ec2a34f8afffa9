"""What the batch size does to the number of updates, and why."""
