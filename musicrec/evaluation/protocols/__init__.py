"""What splits differ in when they are scored: cutoffs, chance levels, artists."""
