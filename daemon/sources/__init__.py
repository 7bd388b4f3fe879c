"""Where events come in: each source turns bytes into a candidate event for the intake, and nothing else."""
