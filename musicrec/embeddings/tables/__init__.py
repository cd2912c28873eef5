"""Stored tables of vectors: `{name}.npy` and what `{name}.json` says of it."""
