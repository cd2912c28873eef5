"""Scripts that are copied beside an export and run where the framework is installed; they do not import musicrec.

They import the framework when they run: the modules of a package can be imported anywhere.
"""
