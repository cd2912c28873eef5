"""Readers of vectors made by other programs: text tables, NumPy, parquet, safetensors, folders of .npy files."""
