"""Top-k retrieval and the searches behind it."""
