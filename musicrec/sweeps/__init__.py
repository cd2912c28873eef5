"""Sweeps: plan and report, SLURM launcher."""
