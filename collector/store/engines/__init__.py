"""The two engines of the store; whatever differs between them is here and nowhere else."""
