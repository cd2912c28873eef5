"""Jukebox (Dhariwal et al., 2020) as far as its activations are needed: top-level codes and the top-level prior."""
