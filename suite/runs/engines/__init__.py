"""The machines that make the runs of a sweep: this one, a Ray cluster, or a Slurm cluster."""
