"""SLURM jobs that depend on each other, for the scripts in slurm/."""
