"""Published results of the two studies, as data, and their comparison with the runs of a workspace."""
