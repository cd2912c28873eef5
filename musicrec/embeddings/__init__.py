"""Audio representations: one file per model, the extraction loop and the .npy store."""

from musicrec.embeddings.extraction.embed_files import embed_files

__all__ = ["embed_files"]
