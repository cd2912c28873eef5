"""Moved to `musicrec.embeddings.checkpoints.convert_musicnn`; kept so that the documented command still runs."""

from musicrec.embeddings.checkpoints.convert_musicnn import main

if __name__ == "__main__":
    main()
