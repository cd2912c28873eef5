"""Audio representations: one file per model, the extraction loop and the .npy store."""
