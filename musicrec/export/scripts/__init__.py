"""Scripts that are copied beside an export and run where the framework is installed; they do not import musicrec."""
