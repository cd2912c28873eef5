"""Why memory made something fail, whichever library says so, in one line."""

from __future__ import annotations

import errno
import re

from musicrec.errors import first_line

# torch, CUDA, DuckDB, Arrow, the loader of shared libraries, and threads that cannot start.
_SAYINGS = re.compile(
    r"can(?:no|')t allocate memory|out of memory|not enough memory|failed to (?:map|allocate)|bad_alloc|"
    r"could not allocate|unable to allocate|can't start new thread|failed to create thread|"
    r"resource temporarily unavailable",
    re.IGNORECASE,
)


def memory_problem(error: BaseException | None) -> str | None:
    """Returns one line about memory if that is why something failed, otherwise None.

    >>> memory_problem(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."))
    "there is not enough memory ([enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ...)"
    >>> memory_problem(ValueError("no such column"))
    """
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if isinstance(error, MemoryError) or number == errno.ENOMEM or _SAYINGS.search(str(error)):
            return f"there is not enough memory ({first_line(error)[:200]})"
        error = error.__cause__ or error.__context__
    return None
