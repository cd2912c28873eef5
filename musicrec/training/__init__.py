"""One training run: fit, resume, predict, score."""
