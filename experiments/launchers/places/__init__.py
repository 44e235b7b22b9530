"""Where runs are carried out: this machine, a Ray cluster, Slurm."""
