"""PlayTable: the plays of a log, with ids as numbers, in memory or on disk, and their sorted file."""
