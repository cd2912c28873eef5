"""Jukebox (Dhariwal et al., 2020) as far as it is needed for embeddings: top-level codes and the top-level prior."""
