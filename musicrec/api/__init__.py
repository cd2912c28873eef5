"""The public Python API: audio files to vectors, a folder of music to "more like this", a finished run to lists.

`import musicrec` offers the same names and imports nothing of this until one of them is used.
"""

from musicrec.api.embed import embed_files
from musicrec.api.library import Library, Match, open_library
from musicrec.api.loaded_run import LoadedRun, load_run

__all__ = ["Library", "LoadedRun", "Match", "embed_files", "load_run", "open_library"]
